"""An ingress's connection to control: follows the plan and the keys, and acknowledges them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError
from maas.serving.messages import (
    LENGTH,
    MAX_MESSAGE,
    Ack,
    Ask,
    Changed,
    FromProcess,
    Hello,
    Question,
    Refused,
    Reply,
    Stats,
    Told,
    decode_from_control,
    encode,
)
from maas.telemetry.metrics import Metrics
from maas.telemetry.series import collect

log = logging.getLogger("maas.follower")

RETRY_S = 0.1
STATS_S = 1.0
MOST_QUESTIONS = 64
"""Questions that may wait for their answers at once."""

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
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Reply]] = {}

    def say(self, message: FromProcess) -> None:
        """Tells control, where it is there."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    async def ask(self, question: Question, timeout_s: float) -> Reply:
        """Asks control and waits for the answer.

        What this process has counted is told first, so that an answer about counts has it.

        Args:
            question: what.
            timeout_s: how long to wait.

        Raises:
            MaasError: what control refused it with; UNAVAILABLE where control is away or does
                not answer in time, RESOURCE_EXHAUSTED where too many wait already.
        """
        if self._writer is None or self._writer.is_closing():
            raise _away()
        if len(self._asked) >= MOST_QUESTIONS:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED,
                f"{MOST_QUESTIONS} requests like this one wait for the control process already; "
                "try again",
                retry_after_s=1.0,
            )
        number = next(self._numbers)
        told: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[number] = told
        self.say(Stats(collect(self._metrics)))
        self.say(Ask(number, question))
        try:
            reply = await asyncio.wait_for(told, timeout_s)
        except TimeoutError:
            raise MaasError(
                ErrorKind.UNAVAILABLE,
                f"the control process did not answer within {timeout_s:.3g} s; try again",
                retry_after_s=1.0,
            ) from None
        finally:
            del self._asked[number]
        if isinstance(reply, Refused):
            raise MaasError(reply.kind, reply.message)
        return reply

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
                    for told in self._asked.values():
                        if not told.done():
                            told.set_exception(_away())
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                log.debug("control is not there: %s", error)
            await asyncio.sleep(RETRY_S)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        held: Changed | None = None
        while True:
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            if size > MAX_MESSAGE:
                raise ValueError(f"a message of {size} bytes")
            message = decode_from_control(await reader.readexactly(size))
            if isinstance(message, Told):
                told = self._asked.get(message.id)
                if told is not None and not told.done():
                    told.set_result(message.reply)
                continue
            if not isinstance(message, Changed) or message == held or message.number == 0:
                continue
            ack = await self._apply()
            held = Changed(ack.epoch, ack.number, ack.keys)
            self.acknowledged = True
            self.say(ack)

    async def _say_stats(self) -> None:
        while True:
            await asyncio.sleep(STATS_S)
            self.say(Stats(collect(self._metrics)))


def _away() -> MaasError:
    return MaasError(
        ErrorKind.UNAVAILABLE,
        "the control process is away and is being started again; try again",
        retry_after_s=1.0,
    )
