"""TensorFlow's names and numbers of types, and what a model's signatures become here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maas.core.errors import invalid
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.core.upstreams import UpstreamTarget
from maas.runtimes.upstream.document import Document, spec_of

BY_NAME: Mapping[str, DType] = MappingProxyType(
    {
        "DT_FLOAT": DType.FP32,
        "DT_DOUBLE": DType.FP64,
        "DT_HALF": DType.FP16,
        "DT_BFLOAT16": DType.BF16,
        "DT_INT8": DType.INT8,
        "DT_INT16": DType.INT16,
        "DT_INT32": DType.INT32,
        "DT_INT64": DType.INT64,
        "DT_UINT8": DType.UINT8,
        "DT_UINT16": DType.UINT16,
        "DT_UINT32": DType.UINT32,
        "DT_UINT64": DType.UINT64,
        "DT_BOOL": DType.BOOL,
        "DT_STRING": DType.BYTES,
    }
)
NUMBERS: Mapping[DType, int] = MappingProxyType(
    {
        DType.FP32: 1,
        DType.FP64: 2,
        DType.INT32: 3,
        DType.UINT8: 4,
        DType.INT16: 5,
        DType.INT8: 6,
        DType.BYTES: 7,
        DType.INT64: 9,
        DType.BOOL: 10,
        DType.BF16: 14,
        DType.UINT16: 17,
        DType.FP16: 19,
        DType.UINT32: 22,
        DType.UINT64: 23,
    }
)
"""The numbers of `tensorflow.DataType`."""
MOST_SIGNATURES = 64

Specs = list[tuple[str, TensorSpec | None]]
"""Tensors by name, in the server's order; None for one whose rank is not known."""


def tensor_spec(name: str, dtype: DType | None, said: str, shape: list[int]) -> TensorSpec:
    """A tensor as TensorFlow Serving describes it.

    Args:
        name: the tensor's.
        dtype: its type; None for one that is not served here.
        said: what the server calls that type.
        shape: with -1 where any size goes.

    Raises:
        MaasError: INVALID_ARGUMENT for a type or shape that is not served here.
    """
    return spec_of(name, said if dtype is None else dtype.text, shape)


def described(target: UpstreamTarget, said: Mapping[str, tuple[Specs, Specs]]) -> Document:
    """A model's description.

    Args:
        target: the upstream; where it names a signature, that one alone is kept.
        said: inputs and outputs of each signature.

    Raises:
        MaasError: INVALID_ARGUMENT where no signature is left.
    """
    wanted = target.signature
    if wanted and wanted not in said:
        names = ", ".join(sorted(name[:60] for name in said)[:10])
        raise invalid(f"the upstream's model has no signature {wanted[:60]!r}; it has {names}")
    kept = {}
    for name in sorted(said)[:MOST_SIGNATURES]:
        inputs, outputs = said[name]
        # An initialiser has neither; an input of any rank could not be checked before it is sent.
        if (wanted and name != wanted) or not inputs or not outputs:
            continue
        if any(spec is None for _, spec in (*inputs, *outputs)):
            continue
        kept[name] = Signature(
            name,
            tuple(spec for _, spec in sorted(inputs) if spec is not None),
            tuple(spec for _, spec in sorted(outputs) if spec is not None),
            batched=False,
        )
    if not kept:
        raise invalid(
            "the upstream's model has no signature with inputs and outputs of known rank; publish "
            "one that has"
        )
    return Document(target.url, kept)
