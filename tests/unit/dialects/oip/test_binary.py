"""Tensors as bytes, both ways."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.binary import SMALL_BYTES, read_blob, write_blob
from maas.dialects.tensorjson.document import MAX_OBJECTS

NUMBERS = [dtype for dtype in DType if dtype is not DType.BYTES]


def read(data: bytes, dtype: DType, *shape: int) -> np.ndarray:
    return read_blob(memoryview(data), TensorSpec("x", dtype, (None,)), shape, "input 'x'")


def refused(data: bytes, dtype: DType, *shape: int) -> str:
    with pytest.raises(MaasError) as caught:
        read(data, dtype, *shape)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("size", [2, 2 * SMALL_BYTES])
def test_numbers_pass_bit_by_bit_and_are_not_copied(dtype: DType, size: int) -> None:
    array = np.arange(size).reshape(2, -1).astype(dtype.numpy)
    data = bytes(write_blob(array))
    assert data == array.tobytes()
    back = read(data, dtype, *array.shape)
    assert back.dtype == dtype.numpy
    assert back.tobytes() == data
    assert np.shares_memory(back.view(np.uint8), np.frombuffer(data, np.uint8))


def test_what_is_not_contiguous_is_written_in_order() -> None:
    array = np.arange(SMALL_BYTES, dtype=np.float32).reshape(2, -1)
    assert bytes(write_blob(array.T)) == array.T.tobytes()
    assert bytes(write_blob(array[:, ::2])) == array[:, ::2].tobytes()


def test_texts_have_their_lengths_before_them() -> None:
    array = np.array([["中".encode(), b""], [b"\xff\x00", b"a" * 300]], object)
    data = bytes(write_blob(array))
    assert data[:7] == b"\x03\x00\x00\x00" + "中".encode()
    assert read(data, DType.BYTES, 2, 2).tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BF16, DType.BYTES, DType.BOOL])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_tensors_have_no_bytes(dtype: DType, shape: tuple[int, ...]) -> None:
    assert len(write_blob(np.empty(shape, dtype.numpy))) == 0
    assert read(b"", dtype, *shape).shape == shape
    refused(b"\0", dtype, *shape)


def test_scalars() -> None:
    assert read(write_blob(np.array(1.5, np.float32)), DType.FP32).item() == 1.5
    assert read(b"\x01\0\0\0a", DType.BYTES).item() == b"a"


@pytest.mark.parametrize(
    ("data", "dtype", "shape", "sentence"),
    [
        (b"\0" * 15, DType.FP32, (1, 4), "has 15 bytes where its shape [1, 4] of FP32 needs 16"),
        (b"\0" * 17, DType.FP32, (1, 4), "has 17 bytes"),
        (b"", DType.FP32, (2**62,), "needs 18446744073709551616"),
        (b"", DType.FP32, (0, 2**62, 2**62), "beyond what an array can have"),
        (b"", DType.BYTES, (0, 2**62, 2**62), "beyond what an array can have"),
        (b"\x02", DType.BOOL, (1,), "BOOL and holds bytes other than 0 and 1"),
        (b"\0\0\0", DType.BYTES, (1,), "ends before its 1 elements"),
        (b"\0" * 4, DType.BYTES, (2,), "ends before its 2 elements"),
        (b"\x05\0\0\0abcd", DType.BYTES, (1,), "element 0 of input 'x' is 5 bytes long and 4 are"),
        (b"\xff\xff\xff\xff", DType.BYTES, (1,), "is 4294967295 bytes long and 0 are left"),
        (b"\x04\0\0\0abcd\0", DType.BYTES, (2,), "ends before its 2 elements"),
        (b"\x01\0\0\0ab", DType.BYTES, (1,), "has 1 bytes left over after its 1 elements"),
    ],
)
def test_what_is_wrong_is_said(
    data: bytes, dtype: DType, shape: tuple[int, ...], sentence: str
) -> None:
    assert sentence in refused(data, dtype, *shape)


def test_elements_are_bounded() -> None:
    data = bytes(4 * (MAX_OBJECTS + 1))
    with pytest.raises(MaasError, match="send fewer rows") as caught:
        read(data, DType.BYTES, MAX_OBJECTS + 1)
    assert caught.value.kind is ErrorKind.TOO_LARGE


@given(st.binary(max_size=64), st.sampled_from(DType), st.lists(st.integers(0, 6), max_size=3))
def test_any_bytes_are_a_tensor_or_an_error_of_ours(
    data: bytes, dtype: DType, shape: list[int]
) -> None:
    with contextlib.suppress(MaasError):
        array = read(data, dtype, *shape)
        assert bytes(write_blob(array)) == data


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_elements_come_back(elements: list[bytes]) -> None:
    array = np.empty(len(elements), object)
    array[:] = elements
    assert read(bytes(write_blob(array)), DType.BYTES, len(elements)).tolist() == elements
