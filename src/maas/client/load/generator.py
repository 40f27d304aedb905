"""Sends requests in a closed or an open loop and measures the answers; one process's share."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import Iterator

from maas.client.load.alarm import Alarm
from maas.client.load.arrivals import SECOND, due_times
from maas.client.load.connection import Connection
from maas.client.load.messages import SLICE_S, LoadPlan, Tally

RETRY_S = 0.1
"""Pause before a connection that was refused is tried again."""


class Generator:
    """One run. `connect`, then `run`; `stop` ends it early.

    Args:
        plan: what to do.
    """

    def __init__(self, plan: LoadPlan):
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._tls = ssl.create_default_context() if plan.tls else None
        self._open_ones: set[Connection] = set()
        self._idle: list[Connection] = []
        self._under_way = 0
        self._waiting: deque[int] = deque()
        self._turn = 0
        self._tally = Tally()
        self._started = 0
        self._end = 0
        self._sending = False
        self._done = asyncio.Event()
        self._quiet = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: Iterator[int] = iter(())
        self._next = 0
        self._alarm = Alarm(self._loop, self._ring)

    async def connect(self) -> None:
        """Opens every connection.

        Raises:
            OSError: one is refused.
        """
        for _ in range(self._plan.connections):
            self._idle.append(await self._open())

    async def run(self) -> Tally:
        """Sends until the time is over, waits for the answers, and says what came of it."""
        plan = self._plan
        cpu = time.process_time()
        self._started = time.monotonic_ns()
        self._end = self._started + int(plan.seconds * SECOND)
        self._sending = True
        if plan.rate:
            self._due = due_times(plan.rate, plan.arrivals, plan.offset, plan.seed)
            self._next = self._started + next(self._due)
            self._alarm.set(self._next)
        else:
            for connection in [*self._idle]:
                self._send_next(connection)
        ends = self._loop.call_later(plan.seconds, self.stop)
        await self._done.wait()
        ends.cancel()
        if plan.rate:
            self._ring()  # what was due before the end and is not taken up yet
        # Read at the end of sending: waiting for the last answers is no load.
        seconds = (self._end - self._started) / SECOND
        await self._drain()
        self._tally.seconds = seconds
        self._tally.cpu_s = time.process_time() - cpu
        return self._tally

    def stop(self) -> None:
        """Sends nothing more."""
        if self._sending:
            self._sending = False
            self._end = min(self._end, time.monotonic_ns())
            self._done.set()

    async def _drain(self) -> None:
        """Waits for what is under way, at most the grace, and counts what does not come."""
        self._settle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.grace_s):
                await self._quiet.wait()
        self._tally.fail("timeout", self._under_way)
        self._tally.fail("unsent", len(self._waiting))
        self.close()

    def close(self) -> None:
        """Closes every connection."""
        self._alarm.close()
        for task in self._tasks:
            task.cancel()
        for connection in [*self._open_ones]:
            connection.began = 0  # what it still owed has been counted
            connection.close()

    def _settle(self) -> None:
        """Notices that nothing is owed any more."""
        if not self._sending and not self._under_way and not self._waiting:
            self._quiet.set()

    async def _open(self) -> Connection:
        _, connection = await self._loop.create_connection(
            lambda: Connection(self._answered, self._lost),
            self._plan.host,
            self._plan.port,
            ssl=self._tls,
        )
        self._open_ones.add(connection)
        return connection

    # The closed loop

    def _send_next(self, connection: Connection) -> None:
        if self._sending and connection.is_open:
            if connection in self._idle:
                self._idle.remove(connection)
            self._tally.sent += 1
            self._send(connection, time.monotonic_ns())

    # The open loop

    def _ring(self) -> None:
        """Takes up every request that is due, and sets the alarm for the next."""
        now = time.monotonic_ns()
        while self._next < min(now + 1, self._end):
            self._tally.lateness.add(now - self._next)
            self._tally.sent += 1
            self._waiting.append(self._next)
            self._next = self._started + next(self._due)
        self._send_waiting()
        if self._sending and self._next < self._end:
            self._alarm.set(self._next)

    def _send_waiting(self) -> None:
        while self._waiting and self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                self._send(connection, self._waiting.popleft())

    # Both

    def _send(self, connection: Connection, began: int) -> None:
        requests = self._plan.requests
        self._under_way += 1
        connection.send(requests[self._turn], began)
        self._turn = (self._turn + 1) % len(requests)

    def _answered(self, connection: Connection, status: int) -> None:
        now = time.monotonic_ns()
        if not connection.began:  # an answer that nobody asked for
            connection.close()
            return
        if 200 <= status < 300:
            self._tally.latency.add(now - connection.began)
            if now <= self._end:
                self._tally.in_time += 1
                self._count(now)
        else:
            self._tally.fail(str(status))
        connection.began = 0
        self._under_way -= 1
        if self._plan.rate:
            self._idle.append(connection)
            self._send_waiting()
        else:
            self._send_next(connection)
        self._settle()

    def _count(self, now: int) -> None:
        part = int((now - self._started) / SECOND / SLICE_S)
        timeline = self._tally.timeline
        timeline.extend([0] * (part + 1 - len(timeline)))
        timeline[part] += 1

    def _lost(self, connection: Connection) -> None:
        self._open_ones.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.began:
            connection.began = 0
            self._under_way -= 1
            self._tally.fail("connection")
        self._settle()
        if self._sending or self._waiting:
            task = self._loop.create_task(self._reopen())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reopen(self) -> None:
        while self._sending or self._waiting:
            try:
                connection = await self._open()
            except OSError:
                self._tally.fail("connection")
                await asyncio.sleep(RETRY_S)
                continue
            self._idle.append(connection)
            if self._plan.rate:
                self._send_waiting()
            else:
                self._send_next(connection)
            return
