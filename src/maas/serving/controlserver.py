"""Control's side of the control socket: one connection for every ingress and host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from maas.core.errors import ErrorKind
from maas.serving.messages import (
    LENGTH,
    MAX_MESSAGE,
    Ack,
    Ask,
    Changed,
    FromProcess,
    Hello,
    Question,
    Recount,
    Refused,
    Reply,
    Stats,
    Told,
    decode_from_process,
    encode,
)
from maas.serving.versions import Peer
from maas.telemetry.series import Series

log = logging.getLogger("maas.control-link")

MOST_QUESTIONS = 256
"""Questions of one process that may wait for their answers at once."""

Handle = Callable[[Peer, FromProcess], Awaitable[None]]
Answer = Callable[[Question], Awaitable[Reply]]


class ControlServer:
    """Keeps the connections and what each has acknowledged.

    Args:
        handle: called with every message but Ack, Stats and Ask.
        acked: called after every Ack and when a connection comes or goes.
        current: what a newcomer should hold.
        counted: called with a process's id and what it has counted.
        answer: answers a question; several at once, and while other messages come in.
    """

    def __init__(
        self,
        handle: Handle,
        acked: Callable[[], None],
        current: Callable[[], Changed],
        counted: Callable[[str, tuple[Series, ...]], None],
        answer: Answer,
    ) -> None:
        self._handle = handle
        self._acked = acked
        self._current = current
        self._counted = counted
        self._answer = answer
        self._peers: dict[asyncio.StreamWriter, Peer] = {}
        self._recounted = asyncio.Event()
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

    async def recount(self, timeout_s: float) -> None:
        """Has every host say what it has counted; who is slower than that keeps its last word."""
        asked: list[tuple[Peer, int]] = []
        for writer, peer in self._peers.items():
            if peer.kind == "host":
                asked.append((peer, peer.counted))
                writer.write(encode(Recount()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(
                    peer.counted == before and peer in self._peers.values()
                    for peer, before in asked
                ):
                    self._recounted.clear()
                    await self._recounted.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        questions: set[asyncio.Task[None]] = set()
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
                    self._counted(peer.id, message.series)
                    peer.counted += 1
                    self._recounted.set()
                elif isinstance(message, Ask):
                    # An answer may wait for what comes in here, an Ack say.
                    task = asyncio.create_task(self._tell(message, writer, len(questions)))
                    questions.add(task)
                    task.add_done_callback(questions.discard)
                else:
                    await self._handle(peer, message)
        except (asyncio.IncompleteReadError, ConnectionError):
            log.debug("a process has closed its connection")
        except ValueError as error:
            log.warning("a process said what is no message: %s", error)
        finally:
            for task in questions:
                task.cancel()
            self._peers.pop(writer, None)
            self._recounted.set()
            self._progress()
            with contextlib.suppress(OSError):
                writer.close()

    async def _tell(self, ask: Ask, writer: asyncio.StreamWriter, waiting: int) -> None:
        if waiting < MOST_QUESTIONS:
            reply = await self._answer(ask.question)
        else:
            reply = Refused(ErrorKind.RESOURCE_EXHAUSTED, "too many questions wait already")
        writer.write(encode(Told(ask.id, reply)))

    def _progress(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
        self._acked()


async def _read(reader: asyncio.StreamReader) -> FromProcess:
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if size > MAX_MESSAGE:
        raise ValueError(f"a message of {size} bytes")
    return decode_from_process(await reader.readexactly(size))
