from __future__ import annotations

import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from maas.core.ports import Artifact, Device
from maas.serving.frames import MAX_HEADER, PREFIX, pack_tensors, unpack_tensors
from maas.serving.workerframes import Answer, Call, FrameSocket, Load, Loaded, Message, Refusal

Pair = tuple[FrameSocket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A socket that frames are read from, and its bare other end."""
    ours, theirs = socket.socketpair()
    yield FrameSocket(ours, 1 << 26), theirs
    ours.close()
    theirs.close()


def frame(head: bytes, size: int = 0, data: bytes = b"") -> bytes:
    return PREFIX.pack(len(head), size) + head + data


HEAD = msgspec.msgpack.encode(Loaded(("a",)))


@pytest.mark.parametrize(
    "message",
    [
        Load("python", Artifact("/a", "model.py", "python", {}), Device(threads=2)),
        Loaded(("it opens no sockets",)),
        Call("serving_default", ()),
        Answer(()),
        Refusal("internal", "no"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_arrive_as_they_were_sent(pair: Pair, message: Message) -> None:
    ours, theirs = pair
    FrameSocket(theirs, 0).send(message)
    assert ours.receive() == (message, bytearray())


@pytest.mark.parametrize("count", [0, 1, 1000, 20_000, 5_000_000])
def test_tensors_of_any_size(pair: Pair, count: int) -> None:
    ours, theirs = pair
    metas, chunks = pack_tensors({"x": np.arange(count), "y": np.array([b"z"], object)})
    sender = threading.Thread(target=FrameSocket(theirs, 0).send, args=(Answer(metas), chunks))
    sender.start()
    received = ours.receive()
    sender.join()
    assert received is not None
    arrays = unpack_tensors(metas, received[1])
    assert np.array_equal(arrays["x"], np.arange(count))
    assert arrays["x"].flags.writeable


def test_a_frame_in_pieces(pair: Pair) -> None:
    ours, theirs = pair
    data = frame(HEAD, 3, b"abc")

    def trickle() -> None:
        for byte in data:
            theirs.send(bytes([byte]))

    sender = threading.Thread(target=trickle)
    sender.start()
    assert ours.receive() == (Loaded(("a",)), bytearray(b"abc"))
    sender.join()


@pytest.mark.parametrize(
    "sent", [b"", b"\x01\x00", frame(HEAD)[:-1], frame(HEAD, 5, b"abc")],
    ids=["nothing", "half a prefix", "half a header", "half its tensors"],
)  # fmt: skip
def test_the_other_end_goes_away(pair: Pair, sent: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(sent)
    theirs.close()
    assert ours.receive() is None


@pytest.mark.parametrize(
    "sent",
    [
        frame(b"junk"),
        frame(msgspec.msgpack.encode(["shutdown"])),
        frame(msgspec.msgpack.encode(["refusal", b"\xff\xfe"])),
        frame(b""),
        PREFIX.pack(MAX_HEADER + 1, 0),
        PREFIX.pack(4, (1 << 26) + 1),
        frame(HEAD) + frame(HEAD),
        frame(HEAD) + b"\0",
    ],
    ids=["junk", "unknown", "no text", "empty", "long header", "long tensors", "two", "one more"],
)
def test_what_is_no_frame_is_refused(pair: Pair, sent: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(sent)
    with pytest.raises(ValueError, match="frame"):
        ours.receive()


def test_descriptors_that_come_along_are_not_taken(pair: Pair) -> None:
    """A worker may send descriptors; nobody here asks for them."""
    ours, theirs = pair
    with open("/dev/null") as file:  # noqa: PTH123
        socket.send_fds(theirs, [frame(HEAD)], [file.fileno()])
    before = set(Path("/proc/self/fd").iterdir())
    assert ours.receive() == (Loaded(("a",)), bytearray())
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_memory_is_taken_for_what_came_and_not_for_what_was_announced() -> None:
    ours, theirs = socket.socketpair()
    frames = FrameSocket(ours, 1 << 30)
    theirs.sendall(frame(HEAD, 1 << 30, b"x" * 100))
    theirs.close()
    tracemalloc.start()
    try:
        assert frames.receive() is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()
        frames.close()


def test_a_header_nested_without_end_is_none(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(frame(b"\x93\xa6loaded\x91\xa1a" + b"\x91" * 200_000 + b"\xc0"))
    with pytest.raises(ValueError, match="not a frame's header"):
        ours.receive()


def test_a_frame_of_more_parts_than_one_call_writes(pair: Pair) -> None:
    ours, theirs = pair
    FrameSocket(theirs, 0).send(Loaded(()), [b"12345678"] * 3000)
    received = ours.receive()
    assert received is not None
    assert received[1] == b"12345678" * 3000
