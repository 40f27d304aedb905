"""Walks a protobuf message's top-level fields without reading what they hold.

Source: the wire format, https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

MOST_FIELDS = 1_000_000


class Field(Struct, frozen=True):
    """One field: its number, wire type, and value (varint) or length (bytes)."""

    number: int
    wire: int
    value: int


class MalformedError(ValueError):
    """The bytes are not a message, or end before the message does."""


def fields(file: BinaryIO, size: int) -> Iterator[Field]:
    """The top-level fields, in order, skipping what they hold.

    Raises:
        MalformedError: where the bytes stop being a message, or end early.
    """
    for _ in range(MOST_FIELDS):
        if file.tell() == size:
            return
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError("field number 0")
        if wire == 0:
            yield Field(number, wire, _varint(file))
            continue
        length = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            length = _varint(file)
        if length is None:
            raise MalformedError(f"wire type {wire}")
        yield Field(number, wire, length)
        if file.tell() + length > size:
            raise MalformedError("a field ends beyond the file")
        file.seek(length, 1)
    raise MalformedError("too many fields")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise MalformedError("the file ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise MalformedError("a number of more than ten bytes")
