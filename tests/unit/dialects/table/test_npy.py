"""One array in NumPy's format: never allocated as large as it claims."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.table.npy import cast, read_npy, write_npy


def saved(array: np.ndarray, **how: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float64).reshape(2, 3),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.array([True, False]),
        np.array(["a", "花"]),
        np.float32(3),
        np.zeros((0, 3)),
    ],
)
def test_what_numpy_writes_is_read(array):
    np.testing.assert_array_equal(read_npy(saved(array)), array)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        saved(np.array([{}], object), allow_pickle=True),
        saved(np.zeros(2, "datetime64[s]")),
        saved(np.zeros(2, [("a", "i4")])),
        saved(np.zeros(2, "U1")).replace(b"<U1", b"<U0"),
        saved(np.zeros(3)).replace(b"<f8", b"<f3"),
        saved(np.zeros(3)).replace(b"(3,)", b"[3] "),
        saved(np.zeros(3))[:-1],
        saved(np.array([True]))[:-1] + b"\2",
        saved(np.zeros(3)) + b"\0",
        saved(np.zeros(3)).replace(b"(3,)", b"(-3,)").replace(b"  ", b" ", 1),
        b"\x93NUMPY\x01\x00\x20\x00{'descr': '<f8', 'shape': (10**9,)}",
        saved(np.zeros((0, 7))).replace(
            b"(0, 7), }" + b" " * 39, b"(0, 4611686018427387904, 4611686018427387904), }"
        ),
    ],
)
def test_what_is_no_such_array_is_refused(body):
    with pytest.raises(MaasError) as caught:
        read_npy(body)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_claim_of_gigabytes_allocates_nothing():
    body = saved(np.zeros(3)).replace(b"(3,), }         ", b"(99999999999,), }")
    with pytest.raises(MaasError, match="after its header"):
        read_npy(body)


@given(st.binary(max_size=200), st.integers(0, 90))
def test_any_bytes_are_an_array_or_an_error_of_ours(noise, at):
    for body in (saved(np.zeros((2, 2))), saved(np.array(["a"])), saved(np.array([True]))):
        attempt(body, noise, at)


def attempt(body: bytes, noise: bytes, at: int) -> None:
    for text in (noise, body[:at] + noise + body[at + len(noise) :]):
        try:
            array = read_npy(text)
        except MaasError:
            continue
        assert array.nbytes <= len(text)
        for dtype in (DType.BYTES, DType.FP32, DType.INT8, DType.BOOL):
            try:
                cast(array, TensorSpec("x", dtype, (None,)), "it")
            except MaasError:
                continue


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
def test_texts_beyond_unicode_are_refused(code):
    body = saved(np.array(["a"]))[:-4] + code.to_bytes(4, "little")
    with pytest.raises(MaasError, match="not Unicode"):
        cast(read_npy(body), TensorSpec("x", DType.BYTES, (None,)), "it")


def test_what_is_written_numpy_reads():
    words = np.array([[b"a", "花".encode()]], object)
    assert np.load(io.BytesIO(write_npy(words))).tolist() == [["a", "花"]]
    assert np.load(io.BytesIO(write_npy(np.array([b"\xff"], object)))).tolist() == [b"\xff"]
    half = np.array([1.5], DType.BF16.numpy)
    assert np.load(io.BytesIO(write_npy(half))).tolist() == [1.5]


@pytest.mark.parametrize(
    ("array", "dtype", "values"),
    [
        (np.array([1.5, np.inf]), DType.FP32, [1.5, np.inf]),
        (np.array([1, 2], ">i4"), DType.FP64, [1.0, 2.0]),
        (np.array([1, 255]), DType.UINT8, [1, 255]),
        (np.array([True]), DType.INT64, [1]),
        (np.array([True]), DType.BOOL, [True]),
        (np.array(["花"]), DType.BYTES, ["花".encode()]),
        (np.array([b"a"]), DType.BYTES, [b"a"]),
        (np.array([1.5]), DType.BF16, [1.5]),
    ],
)
def test_casts_that_keep_values(array, dtype, values):
    found = cast(array, TensorSpec("x", dtype, (None,)), "it")
    assert found.dtype == dtype.numpy
    assert found.tolist() == values


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([1.5]), DType.INT64),
        (np.array([256]), DType.UINT8),
        (np.array([1e300]), DType.FP32),
        (np.array([1]), DType.BOOL),
        (np.array(["1"]), DType.FP32),
        (np.array([1]), DType.BYTES),
    ],
)
def test_casts_that_would_change_values_are_refused(array, dtype):
    with pytest.raises(MaasError, match="does not fit"):
        cast(array, TensorSpec("x", dtype, (None,)), "it")
