"""Where the JSON of a body ends, and what follows it."""

from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.dialects.oip.body import Blobs, read_json_length


@pytest.mark.parametrize(
    ("value", "size", "length"),
    [(b"", 9, None), (b"9", 9, None), (b" 4 ", 9, 4), (b"0", 9, 0), (b"0", 0, 0), (b"", 0, None)],
)
def test_the_length_of_the_json(value: bytes, size: int, length: int | None) -> None:
    assert read_json_length(value, size) == length


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"x", "is 'x'; expected how many bytes of the body are JSON"),
        (b"-1", "is '-1'"),
        (b"4.0", "is '4.0'"),
        (b"\xb2", "expected how many"),
        (b"9" * 30, "expected how many"),
        (b"10", "is 10 and the body has 9 bytes"),
    ],
)
def test_what_is_no_such_length(value: bytes, sentence: str) -> None:
    with pytest.raises(MaasError) as caught:
        read_json_length(value, 9)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert sentence in caught.value.message


def test_tensors_are_taken_one_after_the_other() -> None:
    blobs = Blobs(memoryview(b"abcde"))
    assert bytes(blobs.take(2, "input 'a'")) == b"ab"
    assert bytes(blobs.take(0, "input 'b'")) == b""
    with pytest.raises(MaasError, match="input 'c' says binary_data_size 4 and 3 bytes"):
        blobs.take(4, "input 'c'")
    with pytest.raises(MaasError, match="3 bytes of the body are left over"):
        blobs.end()
    assert bytes(blobs.take(3, "input 'c'")) == b"cde"
    blobs.end()
