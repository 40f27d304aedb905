"""Tensors as every layer sees them: NumPy arrays under names, described by specs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

import ml_dtypes
import numpy as np
from msgspec import Struct

Tensors = Mapping[str, np.ndarray]
"""Arrays under their tensor names. BYTES tensors are object arrays whose elements are `bytes`
(UTF-8 where they are text)."""


class DType(StrEnum):
    """Element types, named as in the Open Inference Protocol v2."""

    # Attributes, not properties: they are read for every tensor of every call.
    numpy: np.dtype
    """The NumPy dtype that holds this type (`object` for BYTES)."""
    text: str
    """The name, as a plain `str`: `value` is a property of Enum's and costs a call."""
    is_integer: bool
    """Whether elements are signed or unsigned integers."""
    is_float: bool
    """Whether elements are floating-point numbers."""
    largest: float
    """The largest finite number of a floating-point type; of others 0."""

    BOOL = "BOOL", "?"
    UINT8 = "UINT8", "u1"
    UINT16 = "UINT16", "u2"
    UINT32 = "UINT32", "u4"
    UINT64 = "UINT64", "u8"
    INT8 = "INT8", "i1"
    INT16 = "INT16", "i2"
    INT32 = "INT32", "i4"
    INT64 = "INT64", "i8"
    FP16 = "FP16", "f2"
    FP32 = "FP32", "f4"
    FP64 = "FP64", "f8"
    BF16 = "BF16", ml_dtypes.bfloat16
    BYTES = "BYTES", "O"

    def __new__(cls, value: str, numpy: str | type) -> Self:
        """Makes a member whose value is its name."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.text = value
        member.numpy = np.dtype(numpy)
        member.is_integer = member.numpy.kind in "iu"
        # NumPy has no bfloat16 of its own: the kind of ml_dtypes' is V.
        member.is_float = member.numpy.kind in "fV"
        limits = ml_dtypes.finfo(member.numpy) if member.is_float else None  # type: ignore[no-untyped-call]
        member.largest = 0.0 if limits is None else float(limits.max)
        return member

    # Enum's own hash is a Python function; members are looked up for every tensor of every call.
    __hash__ = str.__hash__

    @classmethod
    def of(cls, dtype: np.dtype) -> DType:
        """The type for a NumPy dtype; any string or object dtype is BYTES.

        Raises:
            ValueError: for a dtype that no protocol here can carry (complex, datetime, …).
        """
        found = _FROM_NUMPY.get(dtype)
        if found is not None:
            return found
        if dtype.kind in "OSUT":
            return cls.BYTES
        try:
            return _FROM_NUMPY[dtype.newbyteorder("=")]
        except KeyError:
            raise ValueError(f"dtype {dtype} has no counterpart in the protocols") from None


_FROM_NUMPY: dict[np.dtype, DType] = {member.numpy: member for member in DType}


class TensorSpec(Struct, frozen=True):
    """What one input or output of a signature looks like.

    Args:
        name: the tensor's name, unique among its signature's inputs (or outputs).
        dtype: element type.
        shape: sizes, with None where any size goes. The batch axis, where there is one, is the
            first and is None.
        labels: class names, where the tensor holds class indices, scores per class (last axis
            is as long as `labels`) or the names themselves; of an input, the columns' names, in
            their order, where it is a table [n, columns] and they are known.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]
    labels: tuple[str, ...] | None = None
