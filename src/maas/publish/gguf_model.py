"""What kind of model a scanned GGUF is, and whether its figures are of one language model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.publish.gguf_scan import Gguf, number_of, text_of

MOST_LAYERS = 4096
MOST_CONTEXT = 1 << 24
MOST_WIDTH = 1 << 20
EMBEDDING = "token_embd.weight"
_EMBEDDERS = frozenset(
    {
        *("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert"),
        *("neo-bert", "eurobert", "t5encoder", "gemma-embedding", "llama-embed"),
    }
)
_OTHERS: Mapping[str, str] = MappingProxyType(
    {
        "clip": "the picture part of a model (mmproj), which cannot answer by itself",
        "t5": "a model of an encoder and a decoder, which is not served here",
        "wavtokenizer-dec": "a model of sounds, which is not served here",
        "dream": "a diffusion model, which is not served here",
        "llada": "a diffusion model, which is not served here",
        "llada-moe": "a diffusion model, which is not served here",
    }
)
_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "adapter": "an adapter without its model; merge it into the model and publish that",
        "mmproj": "the picture part of a model (mmproj), which cannot answer by itself",
        "vocab": "a vocabulary without a model",
        "imatrix": "figures for quantising a model, not one",
    }
)


class GgufModel(Struct, frozen=True):
    """A language model's figures, checked against its tensors.

    Args:
        architecture: such as `qwen2`.
        parameters: how many numbers its weights are.
        quantization: how most of them are kept, such as `Q4_K_M`.
        context_tokens: that it was made for.
        layers: blocks.
        hidden: numbers for one token between blocks.
        heads: of attention; the most of any block.
        kv_numbers: of one token in the KV cache, all blocks together.
        weight_bytes: of all tensors.
    """

    architecture: str
    parameters: int
    quantization: str
    context_tokens: int
    layers: int
    hidden: int
    heads: int
    kv_numbers: int
    weight_bytes: int


def check_model(gguf: Gguf, vocabulary: int) -> GgufModel:
    """Reads a language model's figures.

    Args:
        gguf: as scanned.
        vocabulary: how many tokens it has.

    Raises:
        MaasError: INVALID_ARGUMENT for figures that its tensors contradict.
    """
    metadata = gguf.metadata
    architecture = text_of(metadata, "general.architecture")

    def figure(name: str, high: int, default: int | None = None) -> int:
        return number_of(metadata, f"{architecture}.{name}", 1, high, default)

    hidden = figure("embedding_length", MOST_WIDTH)
    layers = figure("block_count", MOST_LAYERS)
    heads = _heads(gguf, f"{architecture}.attention.head_count", layers)
    kv_heads = _heads(gguf, f"{architecture}.attention.head_count_kv", layers, heads)
    most = max((*heads, 1))
    key = figure("attention.key_length", MOST_WIDTH, hidden // most)
    value = figure("attention.value_length", MOST_WIDTH, hidden // most)
    _check_embedding(gguf, hidden, vocabulary)
    _check_blocks(gguf, layers)
    return GgufModel(
        architecture=architecture,
        parameters=sum(tensor.count for tensor in gguf.tensors.values()),
        quantization=_quantization(gguf),
        context_tokens=figure("context_length", MOST_CONTEXT),
        layers=layers,
        hidden=hidden,
        heads=most,
        kv_numbers=sum(kv_heads) * (key + value),
        weight_bytes=sum(tensor.size for tensor in gguf.tensors.values()),
    )


def check_kind(gguf: Gguf) -> None:
    """Refuses what is no language model, by what it is.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    metadata = gguf.metadata
    architecture = text_of(metadata, "general.architecture")
    kind = text_of(metadata, "general.type", "model")
    if not 1 <= len(architecture) <= 64 or not architecture.isprintable():
        raise invalid("the GGUF names no architecture (general.architecture); convert it again")
    if kind in _KINDS:
        raise invalid(f"the GGUF is {_KINDS[kind]}")
    pooling = metadata.get(f"{architecture}.pooling_type", 0)
    if architecture in _EMBEDDERS or pooling != 0:
        raise invalid(
            f"the GGUF is an embedding model ({architecture}); embeddings come later, and language "
            "models are served today"
        )
    if architecture in _OTHERS:
        raise invalid(f"the GGUF is {_OTHERS[architecture]}")
    if number_of(metadata, "split.count", 0, 1 << 16, 0) > 1:
        raise split_error()


def split_error() -> MaasError:
    """The error for one part of a model in several files."""
    return invalid(
        "the GGUF is one of several parts of a model; put them together "
        "(llama-gguf-split --merge) and publish the one file"
    )


def _heads(
    gguf: Gguf, key: str, layers: int, default: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """How many heads each block has; some architectures say one number for all."""
    value = gguf.metadata.get(key)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iu" or len(value) != layers or not layers:
            raise invalid(f"the GGUF's {key} has not one number for each of its {layers} blocks")
        if not 0 <= int(value.min()) <= int(value.max()) <= MOST_WIDTH:
            raise invalid(f"the GGUF's {key} has an impossible number; expected 0 to {MOST_WIDTH}")
        return tuple(int(count) for count in value)
    if value is None and default is not None:
        return default
    return (number_of(gguf.metadata, key, 0, MOST_WIDTH, None),) * layers


def _check_embedding(gguf: Gguf, hidden: int, vocabulary: int) -> None:
    embedding = gguf.tensors.get(EMBEDDING)
    if embedding is None:
        raise invalid(
            f"the GGUF has no {EMBEDDING}, so it holds a part of a model or none; publish a "
            "language model"
        )
    if embedding.shape != (hidden, vocabulary):
        raise invalid(
            f"the GGUF's embedding has the shape {list(embedding.shape)}; its {vocabulary} tokens "
            f"of {hidden} numbers make it {[hidden, vocabulary]}"
        )


def _check_blocks(gguf: Gguf, layers: int) -> None:
    found = {
        int(name.split(".", 2)[1])
        for name in gguf.tensors
        if name.startswith("blk.") and name.split(".", 2)[1].isdecimal()
    }
    if found != set(range(layers)):
        raise invalid(
            f"the GGUF says it has {layers} blocks, and its tensors are of {len(found)}"
            + (f" up to number {max(found)}" if found else "")
        )


def _quantization(gguf: Gguf) -> str:
    """How most numbers are kept; with the mixture's name where the metadata tells it."""
    from gguf.constants import LlamaFileType

    counts: dict[str, int] = {}
    for tensor in gguf.tensors.values():
        counts[tensor.type] = counts.get(tensor.type, 0) + tensor.count
    most = max(counts, key=lambda type_: counts[type_])
    said = gguf.metadata.get("general.file_type")
    names = {int(kind): kind.name.removeprefix("MOSTLY_") for kind in LlamaFileType}
    name = names.get(said, "") if isinstance(said, int) else ""
    return name if name.startswith(most) else most
