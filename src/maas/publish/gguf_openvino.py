"""Whether OpenVINO's reader of GGUF can be given one: it takes much for granted.

It knows three architectures, in their plain form. What a file says beyond that (other positions,
experts, other scales) it leaves out without a word, so anything unusual is llama.cpp's to serve.
Numbers it cannot read it refuses by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from maas.core.errors import MaasError, invalid
from maas.publish.gguf_model import EMBEDDING, GgufModel
from maas.publish.gguf_scan import Gguf, number_of

ARCHITECTURES = ("llama", "qwen2", "qwen3")
_FIGURES = frozenset(
    {
        *("context_length", "embedding_length", "block_count", "feed_forward_length"),
        *("attention.head_count", "attention.head_count_kv", "attention.key_length"),
        *("attention.value_length", "attention.layer_norm_rms_epsilon"),
        *("rope.freq_base", "rope.dimension_count", "vocab_size"),
    }
)
"""What it reads, or what follows from it."""
_WIDEST = 1 << 20


def openvino_trouble(gguf: Gguf, model: GgufModel) -> str:
    """Why OpenVINO cannot serve a GGUF, one clause; empty where it may be tried."""
    if model.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        return f"it reads {known} from a GGUF, and this is {model.architecture}"
    prefix = f"{model.architecture}."
    for key in gguf.metadata:
        if key.startswith(prefix) and key.removeprefix(prefix) not in _FIGURES:
            return f"it would leave out what the GGUF says of {key[:80]}"
    try:
        expected = dict(_shapes(gguf, model))
    except MaasError as error:
        return error.message
    for name, shape in expected.items():
        tensor = gguf.tensors.get(name)
        if tensor is None or tensor.shape != shape:
            found = "is missing" if tensor is None else f"has the shape {list(tensor.shape)}"
            return f"tensor {name} {found}; it expects {list(shape)}"
    output = ("output.weight", expected[EMBEDDING])  # or it is the embedding again
    for name, tensor in gguf.tensors.items():
        if name not in expected and (name, tensor.shape) != output:
            return f"it would leave out the tensor {name!r}"
    return ""


def _shapes(gguf: Gguf, model: GgufModel) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors that there must be.

    Raises:
        MaasError: INVALID_ARGUMENT for figures that are missing, or that it has no place for.
    """
    metadata, prefix = gguf.metadata, f"{model.architecture}."

    def figure(name: str, default: int | None = None) -> int:
        return number_of(metadata, prefix + name, 1, _WIDEST, default)

    hidden, heads = model.hidden, figure("attention.head_count")
    kv_heads = figure("attention.head_count_kv", heads)
    head = figure("attention.key_length", hidden // heads)
    wide = figure("feed_forward_length")
    if figure("attention.value_length", head) != head or figure("rope.dimension_count", head) != (
        head
    ):
        raise invalid("its heads are not turned as a whole")
    yield EMBEDDING, gguf.tensors[EMBEDDING].shape
    yield "output_norm.weight", (hidden,)
    for block in range(model.layers):
        at = f"blk.{block}."
        yield at + "attn_norm.weight", (hidden,)
        yield at + "ffn_norm.weight", (hidden,)
        yield at + "attn_q.weight", (hidden, heads * head)
        yield at + "attn_k.weight", (hidden, kv_heads * head)
        yield at + "attn_v.weight", (hidden, kv_heads * head)
        yield at + "attn_output.weight", (heads * head, hidden)
        yield at + "ffn_gate.weight", (hidden, wide)
        yield at + "ffn_up.weight", (hidden, wide)
        yield at + "ffn_down.weight", (wide, hidden)
        if model.architecture == "qwen2":
            yield at + "attn_q.bias", (heads * head,)
            yield at + "attn_k.bias", (kv_heads * head,)
            yield at + "attn_v.bias", (kv_heads * head,)
        if model.architecture == "qwen3":
            yield at + "attn_q_norm.weight", (head,)
            yield at + "attn_k_norm.weight", (head,)
