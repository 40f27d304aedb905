"""An ingress's side of the calls of language models on one host: deltas, sorted to their calls.

```
open ─▶ GenerateFrame ─▶ host           host ─ DeltasFrame (one a step) ─▶ take ─▶ Stream.next
close ─▶ CancelFrame, where the call has not ended
```
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta
from maas.core.messages import GenerateCall
from maas.serving.frames import CancelFrame, DeltasFrame, GenerateFrame, encode_frame


class ReplicaLostError(Exception):
    """The host went away, or does not hold the version, before it answered."""


class Stream:
    """One call's deltas as they come. One coroutine reads it.

    Args:
        number: of its frame.
        call: what was asked.
        close: tells the host, where the call has not ended, and forgets it.
    """

    __slots__ = (
        "_close", "_deltas", "_error", "_loop", "_timer", "_until", "_waiter", "call", "ended",
        "number", "opened",
    )  # fmt: skip

    def __init__(self, number: int, call: GenerateCall, close: Callable[[Stream], None]):
        self.number = number
        self.call = call
        self.opened = time.monotonic()
        self.ended = False
        """Whether all of it has come from the host."""
        self._close = close
        self._deltas: deque[Delta] = deque()
        self._error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._until = 0.0
        """On the loop's clock: when the waiter has waited long enough."""
        self._timer: asyncio.TimerHandle | None = None

    def put(self, delta: Delta) -> None:
        """Takes what came from the host."""
        self._deltas.append(delta)
        if delta.usage is not None:
            self.ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more comes; what has come is read first."""
        self.ended = True
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ready(self) -> Delta | None:
        """The next delta, where it has come.

        Raises:
            Exception: why there will be none.
        """
        if self._deltas:
            return self._deltas.popleft()
        if self._error is not None:
            raise self._error
        return None

    async def wait(self, timeout_s: float) -> bool:
        """Waits until there is something to read; False where there was not in time."""
        if self._deltas or self._error is not None:
            return True
        self._waiter = waiter = self._loop.create_future()
        self._until = self._loop.time() + timeout_s
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._look)
        try:
            await waiter
        finally:
            self._waiter = None
        return bool(self._deltas) or self._error is not None

    def _look(self) -> None:
        """Ends a wait that is over. One timer serves many waits: most end long before it."""
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() >= self._until:
            self._wake()
        else:
            self._timer = self._loop.call_at(self._until, self._look)

    def close(self) -> None:
        """Nobody reads it any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._close(self)


class Streams:
    """The calls of language models that are open on one connection to a host.

    Args:
        write: sends bytes to the host.
    """

    def __init__(self, write: Callable[[bytes], None]):
        self._write = write
        self._open: dict[int, Stream] = {}
        self._connected = True
        self.heard = time.monotonic()
        """When the host last said something."""

    def __len__(self) -> int:
        return len(self._open)

    def open(self, number: int, call: GenerateCall) -> Stream:
        """Sends a call.

        Raises:
            MaasError: TOO_LARGE for a prompt beyond what a frame holds.
        """
        servable = call.servable
        try:
            frame = encode_frame(
                GenerateFrame(number, servable.name, servable.version, call.request)
            )
        except ValueError as error:
            raise MaasError(ErrorKind.TOO_LARGE, f"the prompt is too large: {error}") from None
        stream = self._open[number] = Stream(number, call, self._close)
        self._write(frame)
        return stream

    def _close(self, stream: Stream) -> None:
        if self._open.pop(stream.number, None) is not None and not stream.ended:
            stream.ended = True
            if self._connected:
                self._write(encode_frame(CancelFrame(stream.number, 0)))

    def take(self, frame: DeltasFrame) -> None:
        """Gives the deltas of a step to their calls."""
        self.heard = time.monotonic()
        for number, delta in frame.deltas:
            stream = self._open.get(number)
            if stream is not None:
                stream.put(delta)
        for error in frame.errors:
            stream = self._open.get(error.index)
            if stream is not None:
                stream.fail(error.as_error())
        for number in frame.unloaded:
            stream = self._open.get(number)
            if stream is not None:
                stream.fail(ReplicaLostError())

    def lose(self) -> set[tuple[str, int]]:
        """The connection is gone: every call is told.

        Returns:
            The versions that were at work.
        """
        self._connected = False
        streams = [stream for stream in self._open.values() if not stream.ended]
        for stream in streams:
            stream.fail(ReplicaLostError())
        return {(one.call.servable.name, one.call.servable.version) for one in streams}
