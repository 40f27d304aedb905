"""An ingress's connection to control: follows the plan and the keys, and acknowledges them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from maas.serving.messages import (
    LENGTH,
    Ack,
    Changed,
    FromProcess,
    Hello,
    Stats,
    decode_from_control,
    encode,
)
from maas.telemetry.metrics import Metrics
from maas.telemetry.series import collect

log = logging.getLogger("maas.follower")

RETRY_S = 0.1
STATS_S = 1.0

Apply = Callable[[], Awaitable[Ack]]


class Follower:
    """Lives on the ingress's event loop.

    Args:
        path: the control socket.
        hello: said first on every connection.
        apply: reads the newest plan and keys, puts them in force and says which they are.
        metrics: what is counted, said once a second.
    """

    def __init__(self, path: Path, hello: Hello, apply: Apply, metrics: Metrics):
        self._path = path
        self._hello = hello
        self._apply = apply
        self._metrics = metrics
        self._writer: asyncio.StreamWriter | None = None
        self.acknowledged = False

    def say(self, message: FromProcess) -> None:
        """Tells control, where it is there."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    async def run(self) -> None:
        """Connects, follows and connects again, for ever."""
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path)
                self.say(self._hello)
                stats = asyncio.create_task(self._say_stats())
                try:
                    await self._follow(reader)
                finally:
                    stats.cancel()
                    self._writer.close()
                    self._writer = None
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                log.debug("control is not there: %s", error)
            await asyncio.sleep(RETRY_S)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        held: Changed | None = None
        while True:
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            changed = decode_from_control(await reader.readexactly(size))
            if changed == held or changed.number == 0:
                continue
            ack = await self._apply()
            held = Changed(ack.epoch, ack.number, ack.keys)
            self.acknowledged = True
            self.say(ack)

    async def _say_stats(self) -> None:
        while True:
            await asyncio.sleep(STATS_S)
            self.say(Stats(collect(self._metrics)))
