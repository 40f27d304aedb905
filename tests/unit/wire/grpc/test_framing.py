from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.wire.grpc.framing import (
    LONGEST_MESSAGE,
    PREFIX,
    Deframer,
    encode_message,
    frame,
    timeout_s,
    unframe,
)

LIMIT = 1 << 16


def refused(work) -> MaasError:
    with pytest.raises(MaasError) as caught:
        work()
    return caught.value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"10S", 10), (b"250m", 0.25), (b"99999999u", 99.999999),
     (b"5n", 5e-9), (b"0S", 0)],
)  # fmt: skip
def test_a_timeout_is_read(text: bytes, seconds: float) -> None:
    assert timeout_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"S", b"1", b"1s", b"123456789S", b"-1S", b"1.5S", b"\xb2S"])
def test_what_is_no_timeout_is_refused(text: bytes) -> None:
    assert refused(lambda: timeout_s(text)).kind is ErrorKind.INVALID_ARGUMENT


def test_a_sentence_is_percent_encoded_and_bounded() -> None:
    assert encode_message("100% of 模型\n") == b"100%25 of %E6%A8%A1%E5%9E%8B%0A"
    assert len(encode_message("x" * 5000)) < LONGEST_MESSAGE + 20


@given(st.binary(max_size=5000), st.sampled_from([b"", b"gzip", b"deflate"]))
def test_a_message_comes_back(message: bytes, encoding: bytes) -> None:
    assert bytes(unframe(frame(message, encoding), encoding, LIMIT)) == message


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_a_stream_comes_back_however_it_is_cut(messages: list[bytes], piece: int) -> None:
    data = b"".join(frame(message, b"gzip" if i % 2 else b"") for i, message in enumerate(messages))
    deframer = Deframer(b"gzip", LIMIT)
    found = []
    for at in range(0, len(data), piece):
        deframer.feed(data[at : at + piece])
        while (message := deframer.next()) is not None:
            found.append(message)
    deframer.close()
    assert found == messages


BAD = [
    (b"", "holds no message"),
    (b"\0\0\0", "holds no message"),
    (PREFIX.pack(0, 5) + b"abc", "cut off"),
    (frame(b"a") + frame(b"b"), "more than one message"),
    (PREFIX.pack(2, 3) + b"abc", "flag 2"),
    (PREFIX.pack(1, 3) + b"abc", "not gzip"),
    (frame(b"abc", b"gzip")[:-4][:1] + PREFIX.pack(0, 4)[1:] + b"abcd", "not gzip"),
]


@pytest.mark.parametrize(("body", "words"), BAD)
def test_what_is_no_frame_is_refused(body: bytes, words: str) -> None:
    error = refused(lambda: unframe(body, b"gzip", LIMIT))
    assert (error.kind, words in error.message) == (ErrorKind.INVALID_ARGUMENT, True), error


def test_a_compressed_message_without_a_compression_is_refused() -> None:
    error = refused(lambda: unframe(frame(b"abc", b"gzip"), b"", LIMIT))
    assert "names no compression" in error.message


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    packed = gzip.compress(bytes(100 << 20))
    error = refused(lambda: unframe(PREFIX.pack(1, len(packed)) + packed, b"gzip", LIMIT))
    assert error.kind is ErrorKind.TOO_LARGE
    error = refused(lambda: unframe(frame(b"")[:0] + PREFIX.pack(1, 0), b"deflate", LIMIT))
    assert error.kind is ErrorKind.INVALID_ARGUMENT


def test_a_stream_refuses_a_message_by_its_announced_size() -> None:
    deframer = Deframer(b"", LIMIT)
    deframer.feed(PREFIX.pack(0, 1 << 31))
    assert refused(deframer.next).kind is ErrorKind.TOO_LARGE


def test_a_stream_that_ends_within_a_message_is_refused() -> None:
    deframer = Deframer(b"", LIMIT)
    deframer.feed(frame(b"abc")[:-1])
    assert deframer.next() is None
    assert "ended within" in refused(deframer.close).message


@given(st.binary(max_size=200), st.sampled_from([b"", b"gzip", b"deflate", b"snappy"]))
def test_any_bytes_are_a_message_or_an_error_of_ours(body: bytes, encoding: bytes) -> None:
    kinds = (ErrorKind.INVALID_ARGUMENT, ErrorKind.TOO_LARGE, ErrorKind.UNSUPPORTED_MEDIA)
    for data in (body, b"\1\0\0\0" + bytes([len(body) % 256]) + body, zlib.compress(body)):
        assert kind_of_refusal(data, encoding) in (None, *kinds)


def kind_of_refusal(data: bytes, encoding: bytes) -> ErrorKind | None:
    try:
        unframe(data, encoding, LIMIT)
    except MaasError as error:
        return error.kind
    return None
