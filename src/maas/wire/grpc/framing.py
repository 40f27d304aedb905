"""gRPC's framing: messages with five bytes before each, time-outs, percent-encoded sentences.

Source: grpc/doc/PROTOCOL-HTTP2.md and compression.md. Pure functions, and `Deframer` for streams.
"""

from __future__ import annotations

import struct
import zlib

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.wire.http import UNPACKED_AT_ONCE, decompress

PREFIX = struct.Struct(">BI")
ACCEPTED = b"identity,deflate,gzip"
LONGEST_MESSAGE = 1024
"""Characters of an error's sentence: clients bound all trailers together at 8 KiB."""
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_LEVEL = 1
_LITERAL = frozenset(range(0x20, 0x7F)) - {0x25}


def timeout_s(value: bytes) -> float:
    """The seconds of a `grpc-timeout` header: at most eight digits and a unit.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    text = value.decode("latin-1")
    scale = _UNITS.get(text[-1:])
    digits = text[:-1]
    if scale is None or not 1 <= len(digits) <= 8 or not (digits.isascii() and digits.isdigit()):
        raise invalid(
            f"grpc-timeout is {text[:20]!r}; expected up to 8 digits and H, M, S, m, u or n"
        )
    return int(digits) * scale


def encode_message(text: str) -> bytes:
    """An error's sentence as the `grpc-message` header carries it: percent-encoded UTF-8."""
    if len(text) > LONGEST_MESSAGE:
        text = text[: LONGEST_MESSAGE - 1] + "…"
    data = text.encode("utf-8", "replace")
    return b"".join(b"%c" % byte if byte in _LITERAL else b"%%%02X" % byte for byte in data)


def frame(message: bytes, encoding: bytes = b"") -> bytes:
    """A message with its prefix, compressed where an encoding is given.

    Args:
        message: serialised.
        encoding: gzip, deflate or empty.
    """
    if not encoding:
        return PREFIX.pack(0, len(message)) + message
    engine = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31 if encoding == b"gzip" else 15)
    packed = engine.compress(message) + engine.flush()
    return PREFIX.pack(1, len(packed)) + packed


def unframe(body: bytes, encoding: bytes, limit: int) -> bytes | memoryview:
    """The one message of a unary call.

    Args:
        body: all that the client sent.
        encoding: its `grpc-encoding`.
        limit: most bytes of the message.

    Raises:
        MaasError: INVALID_ARGUMENT where it is not one whole message; TOO_LARGE;
            UNSUPPORTED_MEDIA for an encoding that is not read here.
    """
    if len(body) < PREFIX.size:
        raise invalid("the call holds no message; send one, framed as gRPC has it")
    compressed, size = PREFIX.unpack_from(body)
    if size != len(body) - PREFIX.size:
        raise _torn(size, len(body) - PREFIX.size)
    if not compressed:
        return memoryview(body)[PREFIX.size :]
    return _unpacked(body[PREFIX.size :], compressed, encoding, limit)


def is_heavy(framed: bytes | bytearray) -> bool:
    """Whether a message, with its prefix, may take longer to unpack than a small call does."""
    return len(framed) >= UNPACKED_AT_ONCE and framed[0] == 1


def _torn(size: int, there: int) -> MaasError:
    if there < size:
        return invalid(f"the message is cut off: {size} bytes are announced and {there} came")
    return invalid("the call holds more than one message; this method takes one")


def _unpacked(message: bytes, flag: int, encoding: bytes, limit: int) -> bytes:
    if flag != 1:
        raise invalid(f"a message begins with the flag {flag}; gRPC knows 0 and 1")
    if encoding in (b"", b"identity"):
        raise invalid("a message says that it is compressed and grpc-encoding names no compression")
    return decompress(message, encoding, limit)


class Deframer:
    """Takes the messages of a stream out of its bytes as they come.

    Args:
        encoding: the stream's `grpc-encoding`.
        limit: most bytes of one message.
    """

    def __init__(self, encoding: bytes, limit: int):
        self._encoding = encoding
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        self._buffer += data

    @property
    def heavy(self) -> bool:
        """Whether `next` may take longer than a small call does: then not on the loop."""
        return is_heavy(self._buffer)

    def next(self) -> bytes | None:
        """The next whole message, or None where it has not come yet.

        Raises:
            MaasError: as `unframe`.
        """
        buffer = self._buffer
        if len(buffer) < PREFIX.size:
            return None
        compressed, size = PREFIX.unpack_from(buffer)
        if size > self._limit:
            raise message_too_large(size, self._limit)
        end = PREFIX.size + size
        if len(buffer) < end:
            return None
        message = bytes(memoryview(buffer)[PREFIX.size : end])
        del buffer[:end]
        return (
            message
            if not compressed
            else _unpacked(message, compressed, self._encoding, self._limit)
        )

    def close(self) -> None:
        """Says that nothing more comes.

        Raises:
            MaasError: INVALID_ARGUMENT where a message was begun.
        """
        if self._buffer:
            raise invalid("the stream ended within a message")


def message_too_large(size: int, limit: int) -> MaasError:
    """The error for a message beyond its limit."""
    return MaasError(
        ErrorKind.TOO_LARGE,
        f"a message of {size} bytes is larger than {limit / (1 << 20):g} MiB, the limit of this "
        "server (setting limits.body_bytes)",
    )
