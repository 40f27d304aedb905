"""Writes the GGUF of a llama, qwen2 or qwen3, one tensor after another, and reads it back.

Matrices are kept as asked for. Vectors (norms, biases) stay float32: they are few, and everything
goes through them. Embedding and output are never below 8 bits: four would cost more in what the
model says than they save.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maas.publish.hf_card import Specials
from maas.publish.hf_config import HfShape, KeptError, rope_factors
from maas.publish.hf_scan import StoredTensor
from maas.publish.hf_tensors import CHUNK, EMBEDDING, OUTPUT, Place, read_rows, unturn
from maas.publish.hf_vocabulary import HfVocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gguf import GGMLQuantizationType, GGUFWriter
    from numpy.typing import NDArray

BLOCK = 32
"""Numbers that share a scale, in Q8_0 and Q4_0."""
LARGEST_F16 = 65504.0
FILE_TYPES = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}


def write_gguf(
    target: Path,
    shape: HfShape,
    vocabulary: HfVocabulary,
    specials: Specials,
    tensors: Mapping[str, StoredTensor],
    places: tuple[Place, ...],
    quantize: str,
    told: Callable[[float], None],
) -> None:
    """Writes the file.

    Args:
        target: the file.
        shape: the model's figures.
        vocabulary: as GGUF wants it.
        specials: the tokens with a meaning.
        tensors: where the weights lie.
        places: which of them go where.
        quantize: `f16`, `q8_0` or `q4_0`.
        told: hears which part of the weights is written, 0 to 1.

    Raises:
        KeptError: for numbers that float16 has no room for.
        MaasError: INVALID_ARGUMENT for numbers that are infinite or none.
    """
    from gguf import GGUFWriter

    writer = GGUFWriter(target, shape.architecture)
    try:
        _describe(writer, shape, vocabulary, specials, quantize)
        factors = np.asarray(rope_factors(shape), np.float32)
        scaled = shape.rope.kind == "llama3"
        kinds = [kind_of(place, quantize) for place in places]
        for place, kind in zip(places, kinds, strict=True):
            writer.add_tensor_info(
                place.target, place.shape, np.dtype(np.float32), _size(place, kind), kind
            )
        if scaled:
            writer.add_tensor_info(
                "rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        whole, done = sum(tensors[place.source].size for place in places), 0
        for place, kind in zip(places, kinds, strict=True):
            writer.write_tensor_data(_kept(tensors[place.source], place, kind))
            done += tensors[place.source].size
            told(done / whole)
        if scaled:
            writer.write_tensor_data(factors)
    finally:
        writer.close()


def kind_of(place: Place, quantize: str) -> GGMLQuantizationType:
    """How a tensor is kept."""
    from gguf import GGMLQuantizationType as Kind

    if len(place.shape) == 1:
        return Kind.F32
    if quantize == "f16" or place.shape[-1] % BLOCK:
        return Kind.F16
    return Kind.Q8_0 if place.source in (EMBEDDING, OUTPUT) else Kind[quantize.upper()]


def read_back(
    file: Path, places: tuple[Place, ...]
) -> Iterator[tuple[str, Iterator[NDArray[np.float32]]]]:
    """Reads the weights of a GGUF as it keeps them, by their names in the safetensors.

    Yields:
        A name, and its rows as float32 `[rows, …]`, some at a time.
    """
    from gguf import GGUFReader

    stored = {str(tensor.name): tensor for tensor in GGUFReader(file).tensors}
    for place in places:
        yield place.source, _rows_of(stored[place.target], place)


def _rows_of(tensor: Any, place: Place) -> Iterator[NDArray[np.float32]]:
    from gguf import quants

    if len(place.shape) == 1:
        rows = quants.dequantize(tensor.data, tensor.tensor_type)
        yield unturn(np.asarray(rows, np.float32), place.heads)
        return
    unit = place.shape[0] // place.heads if place.heads else 1
    step = max(CHUNK // (place.shape[-1] * unit), 1) * unit
    for first in range(0, place.shape[0], step):
        rows = np.asarray(
            quants.dequantize(tensor.data[first : first + step], tensor.tensor_type), np.float32
        )
        yield unturn(rows, len(rows) // unit if place.heads else 0)


def _kept(tensor: StoredTensor, place: Place, kind: GGMLQuantizationType) -> NDArray[Any]:
    """A tensor in the form that it is kept in; as float32 only some rows of it are held."""
    from gguf import GGMLQuantizationType, quants

    parts = []
    for rows in read_rows(tensor, place):
        if kind is GGMLQuantizationType.F16 and float(np.abs(rows).max()) > LARGEST_F16:
            raise KeptError(f"{tensor.name} holds numbers that float16 has no room for")
        parts.append(quants.quantize(rows, kind))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _size(place: Place, kind: GGMLQuantizationType) -> int:
    from gguf.constants import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[kind]
    return math.prod(place.shape) // int(block) * int(size)


def _describe(
    writer: GGUFWriter,
    shape: HfShape,
    vocabulary: HfVocabulary,
    specials: Specials,
    quantize: str,
) -> None:
    from gguf import LlamaFileType, RopeScalingType

    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.wide)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope.theta)
    if shape.rope.kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(shape.rope.kind))
        writer.add_rope_scaling_factor(shape.rope.factor)
    if shape.rope.kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(shape.rope.original)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(LlamaFileType[FILE_TYPES[quantize]])
    writer.add_quantization_version(2)
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.texts)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if specials.bos is not None:
        writer.add_bos_token_id(specials.bos)
    writer.add_eos_token_id(specials.ends[0])
    writer.add_add_bos_token(False)  # the server begins texts with it where it should
