"""A host's side of the frames, with a real ingress and with strangers on the other."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from maas_test_crossing import Host, call, hold, x
from maas_test_models import BATCHED

from maas.serving.frames import (
    MAX_HEADER,
    PREFIX,
    InferFrame,
    ReplyFrame,
    TensorMeta,
    decode_header,
    encode_frame,
)
from maas.serving.hostsocket import HostSocket
from maas.serving.replica import HostReplica, ReplicaLostError

Start = Callable[..., Awaitable[tuple[Host, HostReplica]]]

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


GARBAGE = [
    b"\x01",
    b"GET / HTTP/1.1\r\n\r\n",
    struct.pack("<II", MAX_HEADER + 1, 0),
    struct.pack("<II", 4, 0) + b"\xc1\xc1\xc1\xc1",
    struct.pack("<II", 10, 0) + b"abc",
    os.urandom(64),
]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_ends_its_own_connection_only(start: Start, data: bytes) -> None:
    host, replica = await start()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(host.path))
        stranger.sendall(data)
        stranger.shutdown(socket.SHUT_WR)
        stranger.settimeout(5)
        assert await asyncio.to_thread(stranger.recv, 1) == b""
    assert (await replica.infer(call(x(1)))).outputs["y"][0, 0] == 2


async def test_a_frame_whose_sizes_lie_is_answered_with_an_error(start: Start) -> None:
    host, replica = await start()
    meta = TensorMeta("x", BATCHED.inputs[0].dtype, (100, 2), 800)
    frame = InferFrame(5, "m", 1, BATCHED.name, (60, 40), (1e18, 1e18), (meta,))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(host.path))
        stranger.sendall(encode_frame(frame, [bytes(16)]))
        stranger.settimeout(5)
        data = await asyncio.to_thread(stranger.recv, 4096)
    head, _ = PREFIX.unpack_from(data)
    reply = decode_header(data[PREFIX.size : PREFIX.size + head])
    assert isinstance(reply, ReplyFrame)
    assert [(error.index, error.kind) for error in reply.errors] == [
        (0, "internal"),
        (1, "internal"),
    ]
    assert host.model.executions == []
    assert (await replica.infer(call(x(1)))).outputs["y"][0, 0] == 2


async def test_an_ingress_that_goes_away_takes_its_calls_with_it(start: Start) -> None:
    host, replica = await start()
    held = await hold(host, replica)
    other = await host.connect()
    gone = other.infer(call(x(1)))
    await asyncio.sleep(0.1)
    other._transport.abort()
    with pytest.raises(ReplicaLostError):
        await gone
    await asyncio.sleep(0.1)
    host.model.go.set()
    await held
    await replica.infer(call(x(2)))
    assert [1.0] not in host.model.runs


async def test_the_socket_is_the_owners_alone(start: Start) -> None:
    host, _ = await start()
    assert host.path.stat().st_mode & 0o777 == 0o600


async def test_a_socket_left_by_a_process_that_died_is_replaced(run: Path) -> None:
    path = run / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    HostSocket(path, lambda name, version: None, 0)
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))
