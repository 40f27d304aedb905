"""Tiny language models with random weights, in the forms people bring: a GGUF, a Hugging Face
folder, and what publishing makes of one. Hidden size 64, two layers, 600 tokens at most."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from maas.runtimes.language.card import TOKENIZER, LanguageCard, write_card

BOS, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = (BOS, START, END, "<tool_call>", "</tool_call>")
"""The last tokens of the vocabulary. The first three are control tokens."""

CHAT_TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\nYou may call these functions:\\n' }}
{%- for tool in tools %}
{{- tool | tojson }}{{ '\\n' }}
{%- endfor %}
{{- 'Write a call as <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>' + call.function | tojson + '</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

_TEXT = (
    "Hello world, how are you today? I am fine, thank you. The quick brown fox jumps over the dog.",
    "A model is published once and served to every application that asks for it, many at a time.",
    "你好,世界。今天天气怎么样?这是一个很小的语言模型,它用来测试。谢谢你的问题。",
    '{"name": "weather", "arguments": {"city": "Paris", "days": 3}} [1, 2.5, true, null]',
)
_DIGITS = {"qwen2": r"\p{N}", "llama-bpe": r"\p{N}{1,3}"}
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tiny_tokenizer(style: str = "qwen2") -> Any:
    """A `tokenizers.Tokenizer`: byte-level BPE, which splits as `qwen2` or `llama-bpe` does."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = Regex(_SPLIT.replace("DIGITS", _DIGITS[style]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(split, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600 - len(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT * 3, trainer)
    for text in SPECIALS:
        control = text in SPECIALS[:3]
        tokenizer.add_tokens([AddedToken(text, special=control, normalized=False)])
    return tokenizer


def tiny_card(architecture: str = "qwen2", context: int = 2048, **others: Any) -> LanguageCard:
    """The card of `tiny_gguf`, with `others` of its fields changed."""
    ids = tiny_tokenizer(_style(architecture)).token_to_id
    fields: dict[str, Any] = {
        "architecture": architecture,
        "parameters": 100_000,
        "quantization": "F16",
        "context_tokens": context,
        "vocabulary": ids(SPECIALS[-1]) + 1,
        "end_tokens": (ids(END), ids(BOS)),
        "bos_token": ids(BOS),
        "add_bos": architecture == "llama",
        "chat_template": CHAT_TEMPLATE,
        "bos_text": BOS,
        "eos_text": END,
        "tool_format": "hermes",
        "control_tokens": (ids(BOS), ids(START), ids(END)),
    }
    return LanguageCard(**fields | others)


def tiny_artifact(
    folder: Path,
    architecture: str = "qwen2",
    *,
    context: int = 2048,
    quantization: str = "F16",
    seed: int = 0,
    **card: Any,
) -> Path:
    """What publishing makes of a GGUF: `model.gguf`, `tokenizer.json`, `language.json`.

    Args:
        folder: made where it is not there; it is also what comes back.
        card: fields of the card to be others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tiny_gguf(
        folder / "model.gguf", architecture, context=context, quantization=quantization, seed=seed
    )
    tiny_tokenizer(_style(architecture)).save(str(folder / TOKENIZER))
    write_card(folder, tiny_card(architecture, context, quantization=quantization, **card))
    return folder


def tiny_gguf(
    path: Path,
    architecture: str = "qwen2",
    *,
    quantization: str = "F16",
    seed: int = 0,
    context: int = 2048,
    layers: int = 2,
    hidden: int = 64,
    chat_template: str = CHAT_TEMPLATE,
) -> Path:
    """Writes a GGUF.

    Args:
        architecture: `qwen2`, `qwen3`, `llama` or `gpt2`.
        quantization: of the matrices: `F32`, `F16`, or a name of `GGMLQuantizationType` with
            blocks of 32, such as `Q8_0`, `Q4_0`.
        hidden: a multiple of 64.
        chat_template: none is written where it is empty.
    """
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    tokens = _describe(writer, architecture, context, layers, hidden, chat_template)
    mostly = "ALL_F32" if quantization == "F32" else f"MOSTLY_{quantization}"
    writer.add_file_type(gguf.LlamaFileType[mostly])
    kind = gguf.GGMLQuantizationType[quantization]
    random = np.random.default_rng(seed)
    for name, shape in _shapes(architecture, tokens, context, layers, hidden):
        if len(shape) > 1:
            values = random.normal(0, 0.2, shape).astype(np.float32)
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        elif name.endswith("norm.weight"):
            writer.add_tensor(name, np.ones(shape, np.float32))
        else:
            writer.add_tensor(name, random.normal(0, 0.01, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_folder(
    path: Path,
    architecture: str = "qwen2",
    *,
    seed: int = 0,
    context: int = 2048,
    dtype: str = "float32",
    **config: Any,
) -> Path:
    """Writes a Hugging Face folder: config, safetensors, tokenizer, chat template.

    Args:
        architecture: a `model_type` of transformers: `qwen2`, `qwen3`, `llama`, `gpt2` and others
            whose configuration has the same names.
        dtype: of the weights, torch's name.
        config: further fields of the configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tiny_tokenizer(_style(architecture))
    ids = tokenizer.token_to_id
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
    }
    if architecture == "gpt2":
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": context}
    fields = sizes | {
        "vocab_size": tokenizer.get_vocab_size(),
        "bos_token_id": ids(BOS),
        "eos_token_id": ids(END),
        "pad_token_id": None,
        "initializer_range": 0.2,
    }
    settings = AutoConfig.for_model(architecture, **fields | config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(settings, dtype=getattr(torch, dtype))
    model.save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    document = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "add_bos_token": architecture == "llama",
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "chat_template": CHAT_TEMPLATE,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(document, indent=2))
    return path


def _style(architecture: str) -> str:
    return "llama-bpe" if architecture == "llama" else "qwen2"


def _describe(
    writer: Any, architecture: str, context: int, layers: int, hidden: int, chat_template: str
) -> int:
    """Writes a GGUF's metadata; gives the size of its vocabulary."""
    import gguf

    style = _style(architecture)
    document = json.loads(tiny_tokenizer(style).to_str())
    merges = [" ".join(pair) for pair in document["model"]["merges"]]
    vocabulary: dict[str, int] = document["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    plain, control, defined = (
        gguf.TokenType.NORMAL,
        gguf.TokenType.CONTROL,
        gguf.TokenType.USER_DEFINED,
    )
    types = [plain] * len(tokens) + [control] * 3 + [defined] * 2
    first = len(tokens)
    tokens += SPECIALS
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * hidden)
    writer.add_head_count(4)
    if architecture == "gpt2":
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_head_count_kv(2)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(hidden // 4)
        writer.add_layer_norm_rms_eps(1e-6)
    if architecture == "qwen3":
        writer.add_key_length(hidden // 4)
        writer.add_value_length(hidden // 4)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(style)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(first)
    writer.add_eos_token_id(first + 2)
    writer.add_pad_token_id(first)
    writer.add_add_bos_token(architecture == "llama")
    if chat_template:
        writer.add_chat_template(chat_template)
    return len(tokens)


def _shapes(
    architecture: str, tokens: int, context: int, layers: int, hidden: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A GGUF's tensors: 4 heads, 2 of keys and values; the output is the embedding again."""
    wide, narrow = 2 * hidden, hidden // 2
    gpt2 = architecture == "gpt2"
    yield "token_embd.weight", (tokens, hidden)
    if gpt2:
        yield "position_embd.weight", (context, hidden)
    for layer in range(layers):
        names: dict[str, tuple[int, ...]] = {
            "attn_norm.weight": (hidden,),
            "ffn_norm.weight": (hidden,),
            "attn_output.weight": (hidden, hidden),
            "ffn_up.weight": (wide, hidden),
            "ffn_down.weight": (hidden, wide),
        }
        if gpt2:
            names |= {"attn_qkv.weight": (3 * hidden, hidden), "attn_qkv.bias": (3 * hidden,)}
            names |= {"attn_norm.bias": (hidden,), "ffn_norm.bias": (hidden,)}
            names |= {"attn_output.bias": (hidden,), "ffn_up.bias": (wide,)}
            names |= {"ffn_down.bias": (hidden,)}
        else:
            names |= {"attn_q.weight": (hidden, hidden), "attn_k.weight": (narrow, hidden)}
            names |= {"attn_v.weight": (narrow, hidden), "ffn_gate.weight": (wide, hidden)}
        if architecture == "qwen2":
            names |= {"attn_q.bias": (hidden,), "attn_k.bias": (narrow,), "attn_v.bias": (narrow,)}
        if architecture == "qwen3":
            names |= {"attn_q_norm.weight": (hidden // 4,), "attn_k_norm.weight": (hidden // 4,)}
        for name, shape in names.items():
            yield f"blk.{layer}.{name}", shape
    yield "output_norm.weight", (hidden,)
    if gpt2:
        yield "output_norm.bias", (hidden,)
