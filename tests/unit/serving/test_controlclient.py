"""A host's side of the control socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from queue import SimpleQueue

import pytest
from maas_test_controls import HOST, Control, until

from maas.serving.controlclient import ControlClient
from maas.serving.messages import (
    LENGTH,
    MAX_MESSAGE,
    Changed,
    Stats,
    Unloaded,
    encode,
)

StartControl = Callable[..., Awaitable[Control]]


class Host:
    """A host's client, on its thread."""

    def __init__(self, path: Path):
        self.greeted: SimpleQueue[bool] = SimpleQueue()
        self.heard: SimpleQueue[Changed] = SimpleQueue()
        self.client = ControlClient(path, HOST)
        self.thread = threading.Thread(
            target=self.client.run,
            args=(
                lambda: self.greeted.put(True),
                self.heard.put,
                lambda: self.client.say(Stats(())),
            ),
            daemon=True,
        )
        self.thread.start()

    async def hear(self) -> Changed:
        return await asyncio.to_thread(self.heard.get, timeout=5)


async def test_a_hosts_client_greets_hears_and_says(control: Control) -> None:
    host = Host(control.path)
    await asyncio.to_thread(host.greeted.get, timeout=5)
    assert await host.hear() == Changed("epoch", 1, 0)
    host.client.say(Unloaded("m", 1))
    await until(lambda: len(control.heard) == 2)
    assert control.heard == [("host-1", HOST), ("host-1", Unloaded("m", 1))]
    control.change(2)
    assert await host.hear() == Changed("epoch", 2, 0)


async def test_a_hosts_client_connects_again_and_greets_again(
    run: Path, start_control: StartControl
) -> None:
    host = Host(run / "control.sock")
    host.client.say(Unloaded("m", 1))  # nobody is there
    for number in (1, 2):
        control = await start_control(number=number)
        await asyncio.to_thread(host.greeted.get, timeout=5)
        assert await host.hear() == control.now
        await control.stop()
        host.client.say(Unloaded("m", 2))
        host.client.say(Unloaded("m", 3))


@pytest.mark.parametrize(
    "data",
    [
        LENGTH.pack(3) + b"\xc1\xc1\xc1",
        b"\x01",
        LENGTH.pack(MAX_MESSAGE + 1),
        LENGTH.pack(9) + b"a",
    ],
    ids=["text", "half a length", "too long", "half a message"],
)
def test_a_hosts_client_survives_a_control_that_talks_nonsense(run: Path, data: bytes) -> None:
    path = run / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(3)
        host = Host(path)
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)  # its Hello
            connection.sendall(data)
        again, _ = listener.accept()
        with again:
            again.settimeout(5)
            (size,) = struct.unpack("<I", again.recv(4))
            assert size == len(encode(HOST)) - 4
            again.sendall(encode(Changed("epoch", 5, 0)))
            assert host.heard.get(timeout=5) == Changed("epoch", 5, 0)


async def test_a_hosts_client_recounts_when_it_is_asked_to(control: Control) -> None:
    host = Host(control.path)
    await host.hear()
    await asyncio.wait_for(control.server.recount(5), 5)
    assert control.stats["host-1"] == ()
