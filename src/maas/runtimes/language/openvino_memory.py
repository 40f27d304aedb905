"""How large a KV cache a model gets, in blocks of tokens, and in which numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, GenerationBounds
from maas.runtimes.language.card import LanguageCard
from maas.runtimes.language.llamacpp_layout import cell_bytes
from maas.runtimes.language.openvino_prefix import BLOCK
from maas.runtimes.openvino_core import core

MIB = 1 << 20
WHOLE = frozenset({"F32", "F16", "BF16"})
"""Weights of these keep their precision: the engine computes in float32 then, too."""


class Plan(Struct, frozen=True):
    """A KV cache.

    Args:
        blocks: of `BLOCK` tokens.
        precision: of its numbers: `f16`, or `u8` with scales, which is half as large.
    """

    blocks: int
    precision: str


def plan_memory(
    artifact: Artifact, card: LanguageCard, bounds: GenerationBounds, context: int
) -> Plan:
    """Plans the cache: what all places can use, and at most what the bounds allow.

    Raises:
        MaasError: FAILED_PRECONDITION, with the figures, where one context does not fit.
    """
    precision = "f16" if card.quantization.upper() in WHOLE else "u8"
    if artifact.format == "gguf":
        numbers = cell_bytes(artifact.file) // 2
    else:
        numbers = _numbers(artifact.file)
    # 8-bit keys have a scale and an offset for each channel of a block; values have fewer.
    block = BLOCK * numbers * 2 if precision == "f16" else BLOCK * numbers * 5 // 4
    one = -(-context // BLOCK) + 1
    blocks = min(bounds.kv_bytes // max(block, 1), one * bounds.sequences)
    if blocks < one:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"the KV cache may have {bounds.kv_bytes // MIB} MiB, and one context of {context}"
            f" tokens takes {-(-one * block // MIB)} MiB; allow more ([generation] kv_bytes), or"
            " publish the model with a smaller --context",
        )
    return Plan(blocks, precision)


def _numbers(graph: Path) -> int:
    """Numbers of one token in the KV cache of an IR: its states are `[batch, heads, tokens, size]`.

    Raises:
        MaasError: FAILED_PRECONDITION for a graph without such states.
    """
    from maas.runtimes.language.openvino_errors import cannot, reason, refusals

    try:
        model = core().read_model(graph)
        states = [op for op in model.get_ops() if op.get_type_name() == "ReadValue"]
        shapes = [_shape(op.get_output_partial_shape(0)) for op in states]
    except refusals() as error:
        raise cannot(reason(error)) from error
    numbers = sum(shape[1] * shape[3] for shape in shapes if len(shape) == 4)
    if numbers < 1:
        raise cannot("its graph has no KV cache; expected a stateful model, as optimum exports it")
    return numbers


def _shape(partial: Any) -> tuple[int, ...]:
    if not partial.rank.is_static:
        return ()
    return tuple(axis.get_length() if axis.is_static else 0 for axis in partial)
