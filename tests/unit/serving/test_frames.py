from __future__ import annotations

import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind
from maas.core.tensor import DType
from maas.serving.frames import (
    ALIGN,
    PREFIX,
    CallError,
    CancelFrame,
    Header,
    InferFrame,
    ReplyFrame,
    TensorMeta,
    decode_header,
    encode_frame,
    pack_bytes,
    pack_tensors,
    unpack_bytes,
    unpack_tensors,
)

NUMERIC = [dtype for dtype in DType if dtype is not DType.BYTES]
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
NAMES = st.text(max_size=12)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(list(DType)))
    shape = draw(SHAPES)
    size = int(np.prod(shape, dtype=int))
    if dtype is DType.BYTES:
        array = np.empty(size, object)
        array[:] = [draw(st.binary(max_size=9)) for _ in range(size)]
        return array.reshape(shape)
    nbytes = size * dtype.numpy.itemsize
    raw = draw(st.binary(min_size=nbytes, max_size=nbytes))
    if dtype is DType.BOOL:
        raw = bytes(byte & 1 for byte in raw)
    return np.frombuffer(raw, dtype.numpy).reshape(shape)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same bits, NaNs included."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:
        return one.tolist() == other.tolist()
    return one.tobytes() == other.tobytes()


def through_a_frame(tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], bytes]:
    metas, chunks = pack_tensors(tensors)
    frame = encode_frame(ReplyFrame(1, True, (), metas), chunks)
    head, size = PREFIX.unpack_from(frame)
    header = decode_header(frame[PREFIX.size : PREFIX.size + head])
    assert isinstance(header, ReplyFrame)
    data = frame[PREFIX.size + head :]
    assert len(data) == size
    return unpack_tensors(header.tensors, data), data


@given(st.dictionaries(NAMES, arrays(), max_size=4))
def test_what_goes_in_comes_out(tensors: dict[str, np.ndarray]) -> None:
    back, data = through_a_frame(tensors)
    assert list(back) == list(tensors)
    assert all(same(tensors[name], back[name]) for name in tensors)
    assert len(data) % ALIGN == 0


@given(st.lists(arrays(), max_size=5))
def test_every_tensor_starts_where_the_processor_likes_it(found: list[np.ndarray]) -> None:
    _, chunks = pack_tensors({str(index): array for index, array in enumerate(found)})
    at = 0
    data = b"".join(chunks)
    metas, _ = pack_tensors({str(index): array for index, array in enumerate(found)})
    for meta in metas:
        assert at % ALIGN == 0
        at += meta.nbytes + -meta.nbytes % ALIGN
    assert at == len(data)


@pytest.mark.parametrize("dtype", NUMERIC)
def test_numbers_are_not_copied_when_they_are_read(dtype: DType) -> None:
    array = np.ones((3, 2), dtype.numpy)
    metas, chunks = pack_tensors({"x": array})
    data = bytearray(b"".join(chunks))
    back = unpack_tensors(metas, data)["x"]
    data[:] = bytes(len(data))
    assert not back.any()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.int64)[::3],
        np.broadcast_to(np.float64(2.5), (2, 3)),
        np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
    ],
    ids=["transposed", "strided", "broadcast", "fortran"],
)
def test_the_layout_in_memory_does_not_matter(array: np.ndarray) -> None:
    back, _ = through_a_frame({"x": array})
    np.testing.assert_array_equal(back["x"], array)


def test_the_byte_order_does_not_matter() -> None:
    back, _ = through_a_frame({"x": np.array([1.0, 2.0], ">f4"), "n": np.array([3, 4], ">i8")})
    assert back["x"].tolist() == [1.0, 2.0]
    assert back["n"].tolist() == [3, 4]


def test_fixed_length_strings_travel_as_bytes() -> None:
    back, _ = through_a_frame({"s": np.array([b"a", b"bc"], "S2")})
    assert back["s"].tolist() == [b"a", b"bc"]


@pytest.mark.parametrize("dtype", ["c8", "M8[s]", "c16"])
def test_a_dtype_that_frames_cannot_carry_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="no counterpart"):
        pack_tensors({"x": np.zeros(1, dtype)})


@given(
    st.one_of(
        st.builds(
            InferFrame,
            st.integers(1, 2**62),
            NAMES,
            st.integers(0, 2**62),
            NAMES,
            st.lists(st.integers(1, 9), max_size=3).map(tuple),
            st.lists(st.floats(0, 1e9), max_size=3).map(tuple),
            st.lists(
                st.builds(TensorMeta, NAMES, st.sampled_from(DType), SHAPES, st.integers(0, 99)),
                max_size=3,
            ).map(tuple),
        ),
        st.builds(
            ReplyFrame,
            st.integers(1, 2**62),
            st.booleans(),
            st.lists(
                st.builds(CallError, st.integers(0, 9), st.sampled_from(ErrorKind), st.text()),
                max_size=3,
            ).map(tuple),
            st.just(()),
        ),
        st.builds(CancelFrame, st.integers(1, 2**62), st.integers(0, 9)),
    )
)
def test_headers_come_back_as_they_were(header: Header) -> None:
    frame = encode_frame(header, [b"12345678"])
    head, size = PREFIX.unpack_from(frame)
    assert decode_header(frame[PREFIX.size : PREFIX.size + head]) == header
    assert size == 8
    assert frame[PREFIX.size + head :] == b"12345678"


@given(st.binary(max_size=64))
def test_a_header_that_is_none_is_refused(data: bytes) -> None:
    try:
        header = decode_header(data)
    except ValueError:
        return
    assert isinstance(header, InferFrame | ReplyFrame | CancelFrame)


ONE = np.ones(4, np.float32)
METAS, CHUNKS = pack_tensors({"x": ONE, "y": ONE})
DATA = b"".join(CHUNKS)


@pytest.mark.parametrize(
    "metas",
    [
        METAS[:1],
        (*METAS, METAS[0]),
        (),
        (msgspec.structs.replace(METAS[0], nbytes=32), METAS[1]),
        (METAS[0], msgspec.structs.replace(METAS[1], nbytes=1 << 40)),
        (METAS[0], msgspec.structs.replace(METAS[1], shape=(5,))),
        (METAS[0], msgspec.structs.replace(METAS[1], shape=(1 << 40,))),
        (METAS[0], msgspec.structs.replace(METAS[1], shape=(2, 3))),
        (METAS[0], msgspec.structs.replace(METAS[1], nbytes=8)),
        (METAS[0], msgspec.structs.replace(METAS[1], dtype=DType.FP64)),
        (METAS[0], msgspec.structs.replace(METAS[1], dtype=DType.BYTES)),
    ],
    ids=[
        "too few tensors", "too many", "none", "more bytes than are its", "bytes without end",
        "more elements", "elements without end", "another shape", "fewer bytes", "larger elements",
        "lengths that are none",
    ],
)  # fmt: skip
def test_sizes_that_lie_are_refused(metas: tuple[TensorMeta, ...]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpack_tensors(metas, DATA)


@pytest.mark.parametrize(("shape", "nbytes"), [((-1,), 16), ((-1, 4), 16), ((4,), -8), ((4,), 19)])
def test_negative_and_odd_sizes_are_refused(shape: tuple[int, ...], nbytes: int) -> None:
    meta = TensorMeta("x", DType.FP32, shape, nbytes)
    with pytest.raises(ValueError, match=r".+"):
        unpack_tensors((meta,), bytes(24 if nbytes == 19 else 16))


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_byte_strings_come_back(elements: list[bytes]) -> None:
    array = np.empty(len(elements), object)
    array[:] = elements
    assert unpack_bytes(memoryview(pack_bytes(array))).tolist() == elements


@pytest.mark.parametrize(
    "data",
    [b"\x01", b"\x01\x00\x00", b"\x05\x00\x00\x00abc", struct.pack("<I", 2**32 - 1) + b"a"],
)
def test_a_length_past_the_end_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="ends within"):
        unpack_bytes(memoryview(data))


@given(st.binary(max_size=64))
def test_no_bytes_make_more_strings_than_they_hold(data: bytes) -> None:
    try:
        found = unpack_bytes(memoryview(data))
    except ValueError:
        return
    assert sum(len(element) + 4 for element in found) == len(data)
