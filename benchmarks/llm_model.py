"""A language model of Qwen2's shape with random weights; runs in the environment `maas-llm`.

24 layers, hidden size 896, 14 heads, 2 of keys and values, 4864 in between, 32,000 tokens: 0.39 B
parameters, written as a Q4_0 GGUF. What it says means nothing; how fast it says it is what counts.
The layers share their random numbers, moved by some rows, so that it is written in seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.environments import CACHE, MAAS_LLM, ROOT

VOCABULARY = 32_000
CONTEXT = 4096
LAYERS, HIDDEN, WIDE = 24, 896, 4864
HEADS, SHARED = 14, 2
PLAIN = 300
"""Tokens below this one are plain ones that any prompt may have."""
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXTS = (
    "Hello world, how are you today? The quick brown fox jumps over the lazy dog.",
    '你好,世界。{"name": "weather", "days": 3}',
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORMAT = 1  # raise it when what this module writes changes


def make_model() -> Path:
    """Write the GGUF, unless it is there.

    Returns:
        The file.
    """
    file = CACHE / f"qwen2-shape-{FORMAT}.gguf"
    if not file.exists():
        print("writing a model of 0.4 B …", flush=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".part")
        command = [str(MAAS_LLM.python), "-m", "benchmarks.llm_model", str(beside)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=600)
        beside.rename(file)
    return file


def _tokens() -> tuple[list[str], list[str]]:
    """Tokens of a byte-level BPE, filled up to the vocabulary, and its merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    filling = VOCABULARY - len(tokens) - len(SPECIALS)
    tokens += [f"Ġword{number}" for number in range(filling)]
    return [*tokens, *SPECIALS], [" ".join(pair) for pair in model["merges"]]


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """A layer's tensors."""
    narrow = HIDDEN // HEADS * SHARED
    yield "attn_norm.weight", (HIDDEN,)
    yield "ffn_norm.weight", (HIDDEN,)
    yield "attn_q.weight", (HIDDEN, HIDDEN)
    yield "attn_k.weight", (narrow, HIDDEN)
    yield "attn_v.weight", (narrow, HIDDEN)
    yield "attn_q.bias", (HIDDEN,)
    yield "attn_k.bias", (narrow,)
    yield "attn_v.bias", (narrow,)
    yield "attn_output.weight", (HIDDEN, HIDDEN)
    yield "ffn_gate.weight", (WIDE, HIDDEN)
    yield "ffn_up.weight", (WIDE, HIDDEN)
    yield "ffn_down.weight", (HIDDEN, WIDE)


def write(file: Path) -> None:
    """Write the GGUF."""
    import gguf
    import numpy as np

    random = np.random.default_rng(0)
    kind = gguf.GGMLQuantizationType.Q4_0

    def matrix(shape: tuple[int, ...]) -> np.ndarray:
        values = random.normal(0, 0.06, shape).astype(np.float32)
        packed: np.ndarray = gguf.quants.quantize(values, kind)
        return packed

    tokens, merges = _tokens()
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_name("benchmark")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(SHARED)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    control = gguf.TokenType.CONTROL
    writer.add_token_types([gguf.TokenType.NORMAL] * (VOCABULARY - len(SPECIALS)) + [control] * 3)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(VOCABULARY - 3)
    writer.add_eos_token_id(VOCABULARY - 1)
    writer.add_pad_token_id(VOCABULARY - 3)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", matrix((VOCABULARY, HIDDEN)), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for name, shape in _shapes():
        if len(shape) > 1:
            packed = matrix(shape)
            for layer in range(LAYERS):
                moved = np.roll(packed, 17 * layer, axis=0)
                writer.add_tensor(f"blk.{layer}.{name}", moved, raw_dtype=kind)
        else:
            values = np.ones if name.endswith("norm.weight") else np.zeros
            for layer in range(LAYERS):
                writer.add_tensor(f"blk.{layer}.{name}", values(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
