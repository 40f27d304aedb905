"""Control's side of the control socket: one connection for every ingress and host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from maas.serving.messages import (
    LENGTH,
    MAX_MESSAGE,
    Ack,
    Changed,
    FromProcess,
    Hello,
    Stats,
    decode_from_process,
    encode,
)
from maas.serving.versions import Peer
from maas.telemetry.series import Series

log = logging.getLogger("maas.control-link")

Handle = Callable[[Peer, FromProcess], Awaitable[None]]


class ControlServer:
    """Keeps the connections, what each has acknowledged, and what each has counted.

    Args:
        handle: called with every message but Hello, Ack and Stats.
        acked: called after every Ack and when a connection comes or goes.
        current: what a newcomer should hold.
    """

    def __init__(
        self, handle: Handle, acked: Callable[[], None], current: Callable[[], Changed]
    ) -> None:
        self._handle = handle
        self._acked = acked
        self._current = current
        self._peers: dict[asyncio.StreamWriter, Peer] = {}
        self.stats: dict[str, tuple[Series, ...]] = {}
        self.changed = asyncio.Event()

    async def start(self, path: Path) -> None:
        """Begins to listen. The run folder is 0700, so that only this user gets at the socket."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - one system call on a local folder, at start
        await asyncio.start_unix_server(self._serve, path)

    def peers(self, kind: str) -> list[Peer]:
        """Processes of a kind that are connected."""
        return [peer for peer in self._peers.values() if peer.kind == kind]

    def acknowledged(self) -> int | None:
        """The lowest plan number that all ingresses hold, or None where there is none."""
        return min((peer.number for peer in self.peers("ingress")), default=None)

    def keys_acknowledged(self) -> int | None:
        """The lowest keyring number that all ingresses hold, or None where there is none."""
        return min((peer.keys for peer in self.peers("ingress")), default=None)

    def broadcast(self, changed: Changed) -> None:
        """Tells every process."""
        data = encode(changed)
        for writer in self._peers:
            writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hello = await _read(reader)
            if not isinstance(hello, Hello):
                return
            peer = Peer(hello.kind, hello.id, hello.pid)
            self._peers[writer] = peer
            writer.write(encode(self._current()))
            await self._handle(peer, hello)
            while True:
                message = await _read(reader)
                if isinstance(message, Ack):
                    if message.epoch == self._current().epoch:
                        peer.number, peer.keys = message.number, message.keys
                    self._progress()
                elif isinstance(message, Stats):
                    self.stats[peer.id] = message.series
                else:
                    await self._handle(peer, message)
        except (asyncio.IncompleteReadError, ConnectionError):
            log.debug("a process has closed its connection")
        except ValueError as error:
            log.warning("a process said what is no message: %s", error)
        finally:
            self._peers.pop(writer, None)
            self._progress()
            with contextlib.suppress(OSError):
                writer.close()

    def _progress(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
        self._acked()


async def _read(reader: asyncio.StreamReader) -> FromProcess:
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if size > MAX_MESSAGE:
        raise ValueError(f"a message of {size} bytes")
    return decode_from_process(await reader.readexactly(size))
