"""A control server that tests start, stop and listen to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from maas.core.errors import ErrorKind
from maas.serving.controlserver import ControlServer
from maas.serving.messages import (
    Changed,
    Done,
    FromProcess,
    Hello,
    Question,
    Refused,
    Reply,
    UnloadModel,
)
from maas.serving.versions import Peer
from maas.telemetry.series import Series

INGRESS = Hello("ingress", "ingress-1", 11)
HOST = Hello("host", "host-1", 12, 3)


class Control:
    """A control server that notes what it hears."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        self.path = path
        self.now = Changed("epoch", 1, 0)
        self.heard: list[tuple[str, FromProcess]] = []
        self.acks = 0
        self.stats: dict[str, tuple[Series, ...]] = {}
        self.questions: list[Question] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.server = ControlServer(
            self._handle, self._acked, lambda: self.now, self.stats.__setitem__, self._answer
        )
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._patch = monkeypatch

    async def start(self) -> None:
        begin = asyncio.start_unix_server

        async def kept(serve: Callable[..., object], path: Path) -> asyncio.Server:
            async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self._writers.append(writer)
                await serve(reader, writer)

            self._servers.append(await begin(noted, path))
            return self._servers[-1]

        with self._patch.context() as patch:
            patch.setattr(asyncio, "start_unix_server", kept)
            await self.server.start(self.path)

    async def stop(self) -> None:
        """Dies: the listener and every connection end."""
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.close()
        self._servers.clear()
        self._writers.clear()
        await until(lambda: not self.server.peers("ingress") and not self.server.peers("host"))

    async def _handle(self, peer: Peer, message: FromProcess) -> None:
        self.heard.append((peer.id, message))

    async def _answer(self, question: Question) -> Reply:
        self.questions.append(question)
        await self.answers.wait()
        if isinstance(question, UnloadModel):
            return Refused(ErrorKind.NOT_FOUND, f"there is no model {question.name}")
        return Done()

    def _acked(self) -> None:
        self.acks += 1

    def change(self, number: int, keys: int = 0) -> None:
        self.now = Changed(self.now.epoch, number, keys)
        self.server.broadcast(self.now)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)
