"""What a host and the worker of one of its models say to each other.

```
host ─ Load ─▶ worker, confined        worker ─ Loaded | Refusal ─▶ host
host ─ Call + tensors ─▶ worker        worker ─ Answer + tensors | Refusal ─▶ host
```

The same layout as between ingress and host (`maas.serving.frames`), over a connected pair of stream
sockets, one question at a time. Nothing a worker says is trusted: it may run anybody's code.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from maas.core.ports import Artifact, Device
from maas.serving.frames import MAX_HEADER, PREFIX, TensorMeta

READ_BYTES = 1 << 16
"""Asked of the socket first; most frames are smaller and so come with one system call."""

MOST_PARTS = 1024
"""That one call writes, IOV_MAX of Linux."""
GROWTH = 1 << 20
"""Bytes that memory is taken for at first: a frame only says how long it will be."""


class Load(Struct, frozen=True, array_like=True, tag="load"):
    """The worker's first order."""

    runtime: str
    artifact: Artifact
    device: Device


class Loaded(Struct, frozen=True, array_like=True, tag="loaded"):
    """It is loaded; `sandbox` says what binds the worker."""

    sandbox: tuple[str, ...]


class Call(Struct, frozen=True, array_like=True, tag="call"):
    """One call or batch; its inputs follow."""

    signature: str
    tensors: tuple[TensorMeta, ...]


class Answer(Struct, frozen=True, array_like=True, tag="answer"):
    """Its outputs follow."""

    tensors: tuple[TensorMeta, ...]


class Refusal(Struct, frozen=True, array_like=True, tag="refusal"):
    """It could not be loaded, or the model failed or refused the values."""

    kind: str
    message: str


Message = Load | Loaded | Call | Answer | Refusal


class FrameSocket:
    """One end of the pair; blocking.

    Args:
        connection: a stream socket.
        most_bytes: tensor bytes of the longest frame that is read.
    """

    def __init__(self, connection: socket.socket, most_bytes: int):
        self._socket = connection
        self._most_bytes = most_bytes
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Message).decode

    def send(self, message: Message, chunks: Sequence[bytes | memoryview] = ()) -> None:
        """Sends a message and the bytes of its tensors.

        Raises:
            OSError: the other end is gone.
        """
        head = self._encode(message)
        size = sum(map(len, chunks))
        parts = [PREFIX.pack(len(head), size) + head, *chunks]
        at = 0
        while at < len(parts):
            # Not sendmsg, which the sandbox refuses: it could hand open files to nobody.
            sent = os.writev(self._socket.fileno(), parts[at : at + MOST_PARTS])
            while at < len(parts) and sent >= len(parts[at]):
                sent -= len(parts[at])
                at += 1
            if sent:
                parts[at] = memoryview(parts[at])[sent:]

    def receive(self) -> tuple[Message, bytearray] | None:
        """Waits for a message.

        Returns:
            It, and the bytes of its tensors, to be written to at will; None where the other end
            has closed.

        Raises:
            ValueError: what came is none, is too long, or has something after it.
            OSError: the connection broke.
        """
        data = self._read(b"", PREFIX.size)
        if data is None:
            return None
        head_size, size = PREFIX.unpack_from(data)
        body = PREFIX.size + head_size
        if head_size > MAX_HEADER or size > self._most_bytes:
            raise ValueError(f"a frame of {head_size} and {size} bytes")
        data = self._read(data, body)
        if data is None:
            return None
        if len(data) > body + size:
            raise ValueError("something follows the frame")
        tensors = bytearray(data[body:])
        if not self._fill(tensors, size):
            return None
        try:
            return self._decode(data[PREFIX.size : body]), tensors
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"not a frame's header: {error}") from None

    def _read(self, data: bytes, least: int) -> bytes | None:
        """Adds to what has been read until it is long enough; None at the end."""
        while len(data) < least:
            more = self._socket.recv(READ_BYTES)
            if not more:
                return None
            data += more
        return data

    def _fill(self, tensors: bytearray, size: int) -> bool:
        """Reads up to a size; memory is taken for at most as much again as has come."""
        while (came := len(tensors)) < size:
            tensors.extend(bytes(min(size - came, max(came, GROWTH))))
            with memoryview(tensors) as room:
                while came < len(room):
                    got = self._socket.recv_into(room[came:])
                    if not got:
                        return False
                    came += got
        return True

    def close(self) -> None:
        """Ends the connection, also for a thread that waits on it."""
        with contextlib.suppress(OSError):  # the other end may have been first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
