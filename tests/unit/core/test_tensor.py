from __future__ import annotations

import numpy as np
import pytest

from maas.core.tensor import DType

PROTOCOL_NAMES = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BF16", "BYTES",
]  # fmt: skip


def test_the_names_are_the_protocols() -> None:
    assert [dtype.value for dtype in DType] == PROTOCOL_NAMES
    assert [str(dtype) for dtype in DType] == PROTOCOL_NAMES


@pytest.mark.parametrize("dtype", DType)
def test_a_numpy_dtype_comes_back_as_its_type(dtype: DType) -> None:
    assert DType.of(dtype.numpy) is dtype


@pytest.mark.parametrize("dtype", DType)
def test_a_type_is_found_by_its_name(dtype: DType) -> None:
    assert DType(str(dtype)) is dtype
    assert {dtype: 1}[dtype.value] == 1


@pytest.mark.parametrize("dtype", DType)
def test_kinds_are_as_numpy_has_them(dtype: DType) -> None:
    assert dtype.is_integer == np.issubdtype(dtype.numpy, np.integer)
    # NumPy does not know that ml_dtypes' bfloat16 is a float.
    assert dtype.is_float == (np.issubdtype(dtype.numpy, np.floating) or dtype is DType.BF16)


@pytest.mark.parametrize(
    ("numpy", "dtype"),
    [
        (">f4", DType.FP32),
        ("<f4", DType.FP32),
        (">i8", DType.INT64),
        ("U5", DType.BYTES),
        ("S3", DType.BYTES),
        ("O", DType.BYTES),
    ],
)
def test_byte_order_and_string_length_do_not_matter(numpy: str, dtype: DType) -> None:
    assert DType.of(np.dtype(numpy)) is dtype


@pytest.mark.parametrize("numpy", ["c8", "M8[s]", "m8[ms]", "V4"])
def test_what_no_protocol_carries_is_refused(numpy: str) -> None:
    with pytest.raises(ValueError, match="no counterpart"):
        DType.of(np.dtype(numpy))
