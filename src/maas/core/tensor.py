"""Tensors as every layer sees them: NumPy arrays under names, described by specs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from msgspec import Struct

Tensors = Mapping[str, np.ndarray]
"""Arrays under their tensor names. BYTES tensors are object arrays whose elements are `bytes`
(UTF-8 where they are text)."""


class DType(StrEnum):
    """Element types, named as in the Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype that holds this type (`object` for BYTES)."""
        return _TO_NUMPY[self]

    @property
    def is_integer(self) -> bool:
        """Whether elements are signed or unsigned integers."""
        return self.numpy.kind in "iu"

    @property
    def is_float(self) -> bool:
        """Whether elements are floating-point numbers."""
        return self.numpy.kind == "f"

    @classmethod
    def of(cls, dtype: np.dtype) -> DType:
        """The type for a NumPy dtype; any string or object dtype is BYTES.

        Raises:
            ValueError: for a dtype that no protocol here can carry (complex, datetime, …).
        """
        if dtype.kind in "OSUT":
            return cls.BYTES
        try:
            return _FROM_NUMPY[np.dtype(dtype).newbyteorder("=")]
        except KeyError:
            raise ValueError(f"dtype {dtype} has no counterpart in the protocols") from None


_TO_NUMPY: dict[DType, np.dtype] = {
    DType.BOOL: np.dtype(np.bool_),
    DType.UINT8: np.dtype(np.uint8),
    DType.UINT16: np.dtype(np.uint16),
    DType.UINT32: np.dtype(np.uint32),
    DType.UINT64: np.dtype(np.uint64),
    DType.INT8: np.dtype(np.int8),
    DType.INT16: np.dtype(np.int16),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
    DType.FP16: np.dtype(np.float16),
    DType.FP32: np.dtype(np.float32),
    DType.FP64: np.dtype(np.float64),
    DType.BYTES: np.dtype(np.object_),
}
_FROM_NUMPY: dict[np.dtype, DType] = {v: k for k, v in _TO_NUMPY.items()}


class TensorSpec(Struct, frozen=True):
    """What one input or output of a signature looks like.

    Args:
        name: the tensor's name, unique among its signature's inputs (or outputs).
        dtype: element type.
        shape: sizes, with None where any size goes. The batch axis, where there is one, is the
            first and is None.
        labels: class names, where the tensor holds class indices, scores per class (last axis
            is as long as `labels`) or the names themselves.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]
    labels: tuple[str, ...] | None = None
