"""Which tensors a llama, qwen2 or qwen3 has, what GGUF calls them, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from maas.core.errors import invalid
from maas.publish.hf_config import HfShape, KeptError
from maas.publish.hf_scan import StoredTensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of numbers that weights can have here."""
CHUNK = 1 << 24
"""Numbers that are held as float32 at once."""


class Place(Struct, frozen=True):
    """One tensor.

    Args:
        source: its name in the safetensors.
        target: in the GGUF.
        shape: of the array, row-major.
        heads: how many heads its rows are, where each head's rows change their order; else 0.
    """

    source: str
    target: str
    shape: tuple[int, ...]
    heads: int = 0


def places_of(shape: HfShape) -> Iterator[Place]:
    """Every tensor that the model has, in the order of the GGUF."""
    hidden, queries, keys = shape.hidden, shape.heads * shape.head, shape.kv_heads * shape.head
    # GGML turns neighbours of a llama's heads, and the Hugging Face form the halves.
    turned = (shape.heads, shape.kv_heads) if shape.architecture == "llama" else (0, 0)
    yield Place(EMBEDDING, "token_embd.weight", (shape.vocabulary, hidden))
    for layer in range(shape.layers):
        source, target = f"model.layers.{layer}", f"blk.{layer}"

        def place(
            name: str, to: str, *sizes: int, heads: int = 0, at: str = source, of: str = target
        ) -> Place:
            return Place(f"{at}.{name}", f"{of}.{to}", sizes, heads)

        yield place("input_layernorm.weight", "attn_norm.weight", hidden)
        yield place("self_attn.q_proj.weight", "attn_q.weight", queries, hidden, heads=turned[0])
        yield place("self_attn.k_proj.weight", "attn_k.weight", keys, hidden, heads=turned[1])
        yield place("self_attn.v_proj.weight", "attn_v.weight", keys, hidden)
        yield place("self_attn.o_proj.weight", "attn_output.weight", hidden, queries)
        if shape.architecture == "qwen2":
            yield place("self_attn.q_proj.bias", "attn_q.bias", queries)
            yield place("self_attn.k_proj.bias", "attn_k.bias", keys)
            yield place("self_attn.v_proj.bias", "attn_v.bias", keys)
        if shape.architecture == "qwen3":
            yield place("self_attn.q_norm.weight", "attn_q_norm.weight", shape.head)
            yield place("self_attn.k_norm.weight", "attn_k_norm.weight", shape.head)
        yield place("post_attention_layernorm.weight", "ffn_norm.weight", hidden)
        yield place("mlp.gate_proj.weight", "ffn_gate.weight", shape.wide, hidden)
        yield place("mlp.up_proj.weight", "ffn_up.weight", shape.wide, hidden)
        yield place("mlp.down_proj.weight", "ffn_down.weight", hidden, shape.wide)
    yield Place("model.norm.weight", "output_norm.weight", (hidden,))
    if not shape.tied:
        yield Place(OUTPUT, "output.weight", (shape.vocabulary, hidden))


def check_tensors(
    tensors: Mapping[str, StoredTensor], places: tuple[Place, ...], tied: bool
) -> None:
    """Holds the tensors that are there against those that config.json means.

    Raises:
        KeptError: for one that GGUF has no place for.
        MaasError: INVALID_ARGUMENT for one that is missing, or of another shape or type.
    """
    for place in places:
        tensor = tensors.get(place.source)
        if tensor is None:
            raise invalid(
                f"the weights have no {place.source}, which config.json means; save the model again"
            )
        if tensor.shape != place.shape:
            raise invalid(
                f"{place.source} has the shape {list(tensor.shape)}, and config.json makes it "
                f"{list(place.shape)}; save the model again"
            )
        if tensor.dtype not in FLOATS:
            raise KeptError(f"its weights are {tensor.dtype}, and {', '.join(FLOATS)} are lowered")
    known = {place.source for place in places}
    if tied:
        known.add(OUTPUT)  # where it was saved all the same, it is the embedding
    for name in tensors:
        # The frequencies, which old versions saved, follow from the configuration.
        if name not in known and not name.endswith("rotary_emb.inv_freq"):
            raise KeptError(f"it has a tensor {name[:80]!r}, which its GGUF form has no place for")


def read_rows(tensor: StoredTensor, place: Place) -> Iterator[NDArray[np.float32]]:
    """Reads a tensor as float32, some rows at a time, in the order that GGUF wants.

    Yields:
        float32 `[rows, …]`: of a matrix whole heads, of a vector all.

    Raises:
        MaasError: INVALID_ARGUMENT for numbers that are infinite or none.
    """
    kind = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}[tensor.dtype]
    stored = np.memmap(
        tensor.file, np.dtype(kind), mode="r", offset=tensor.offset, shape=tensor.shape
    )
    unit = tensor.shape[0] // place.heads if place.heads else 1
    row = tensor.count // tensor.shape[0]
    step = max(CHUNK // (row * unit), 1) * unit if len(tensor.shape) > 1 else tensor.shape[0]
    for first in range(0, tensor.shape[0], step):
        rows = _as_float32(stored[first : first + step], tensor.dtype)
        if not np.isfinite(rows).all():
            raise invalid(f"{tensor.name} holds numbers that are infinite or none (NaN)")
        if place.heads:
            halves = rows.reshape(-1, 2, unit // 2, *rows.shape[1:])
            rows = halves.swapaxes(1, 2).reshape(rows.shape)
        yield rows


def unturn(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Puts the rows of a turned matrix back into the order of the Hugging Face form."""
    if not heads:
        return rows
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _as_float32(stored: NDArray[np.generic], dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":
        return (np.asarray(stored, np.uint32) << 16).view(np.float32)
    return np.asarray(stored).astype(np.float32)
