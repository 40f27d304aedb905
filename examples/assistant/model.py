"""A small llama in PyTorch, and how it is written as GGUF.

    tokens ─▶ embedding ─▶ layers × (attention with RoPE, SwiGLU) ─▶ norm ─▶ the embedding again

The weights have the names and the layout of llama.cpp's architecture `llama`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from tokenizers import Tokenizer

THETA = 10000.0
EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """Sizes of the network. `width` is a multiple of 32 times `heads`, as engines like it."""

    vocabulary: int
    width: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2
    hidden: int = 512
    context: int = 1024


class Attention(nn.Module):
    """Grouped-query attention; neighbouring dimensions are rotated, as in GGUF."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.heads, self.kv_heads = shape.heads, shape.kv_heads
        self.size = shape.width // shape.heads
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, self.kv_heads * self.size, bias=False)
        self.attn_v = nn.Linear(shape.width, self.kv_heads * self.size, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, turn: Tensor, mask: Tensor) -> Tensor:
        """x: [batch, tokens, width]; turn: [batch, tokens, size / 2, 2]; mask: True where seen."""
        batch, tokens, width = x.shape
        q = rotate(self.attn_q(x).view(batch, tokens, self.heads, self.size), turn)
        k = rotate(self.attn_k(x).view(batch, tokens, self.kv_heads, self.size), turn)
        v = self.attn_v(x).view(batch, tokens, self.kv_heads, self.size)
        each = self.heads // self.kv_heads
        k, v = k.repeat_interleave(each, 2), v.repeat_interleave(each, 2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
        return self.attn_output(y.transpose(1, 2).reshape(batch, tokens, width))


class Layer(nn.Module):
    """Attention and SwiGLU, each behind a norm and beside a shortcut."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.attn_norm = nn.RMSNorm(shape.width, EPSILON)
        self.attention = Attention(shape)
        self.ffn_norm = nn.RMSNorm(shape.width, EPSILON)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, turn: Tensor, mask: Tensor) -> Tensor:
        """x: [batch, tokens, width]."""
        x = x + self.attention(self.attn_norm(x), turn, mask)
        y = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(y)) * self.ffn_up(y))


class Llama(nn.Module):
    """The network; its output matrix is its embedding."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, EPSILON)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.05)

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What is left before the output matrix, and before the last layer.

        Args:
            tokens: int64 [batch, tokens].
            positions: int64 [batch, tokens], each conversation's from 0.
            mask: bool [batch, tokens, tokens], True where a token sees another.
        """
        size = self.shape.width // self.shape.heads
        speed = THETA ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
        angle = positions[..., None].float() * speed
        turn = torch.stack((angle.cos(), angle.sin()), -1)
        x = self.token_embd(tokens)
        before = x
        for layer in self.blk:
            before, x = x, layer(x, turn, mask)
        return self.output_norm(x), before

    def logits(self, x: Tensor) -> Tensor:
        """Of what `forward` gave: [..., vocabulary]."""
        return functional.linear(x, self.token_embd.weight)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turns pairs of neighbouring dimensions. x: [batch, tokens, heads, size]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = turn[..., None, :, 0].to(x.dtype), turn[..., None, :, 1].to(x.dtype)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def write_gguf(
    path: Path,
    model: Llama,
    tokens: list[str],
    merges: list[str],
    special: tuple[int, int],
    template: str,
) -> None:
    """Writes the network with its tokens; matrices as Q8_0, norms as float32.

    Args:
        path: the file to be written.
        model: what was trained.
        tokens: by number, in the letters of byte-level BPE.
        merges: in their order, each two tokens with a space between.
        special: the numbers of the token that begins a message and of the one that ends it.
        template: the chat template.
    """
    import gguf

    shape = model.shape
    begin, end = special
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("assistant")
    writer.add_license("apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(THETA)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [
            int(gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL)
            for number in range(len(tokens))
        ]
    )
    writer.add_token_merges(merges)
    writer.add_bos_token_id(begin)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    for name, weight in model.state_dict().items():
        array = weight.detach().float().numpy()
        name = name.replace(".attention.", ".")
        if array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf(path: Path) -> tuple[Llama, Tokenizer]:
    """Reads what `write_gguf` wrote: the network as its file has it, and the tokens."""
    import gguf
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    reader = gguf.GGUFReader(path)
    value = {name: found.contents() for name, found in reader.fields.items()}
    tokens, merges = value["tokenizer.ggml.tokens"], value["tokenizer.ggml.merges"]
    kinds = value["tokenizer.ggml.token_type"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ")) for merge in merges],
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    controls = [t for t, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in controls])
    shape = Shape(
        vocabulary=len(tokens),
        width=value["llama.embedding_length"],
        layers=value["llama.block_count"],
        heads=value["llama.attention.head_count"],
        kv_heads=value["llama.attention.head_count_kv"],
        hidden=value["llama.feed_forward_length"],
        context=value["llama.context_length"],
    )
    model = Llama(shape)
    names = {name.replace(".attention.", "."): name for name in model.state_dict()}
    model.load_state_dict(
        {
            names[tensor.name]: torch.from_numpy(
                gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
            )
            for tensor in reader.tensors
        }
    )
    return model, tokenizer
