"""Calls of a language model on their way to one answer.

```
Engine.generate ─▶ a task for each call ─▶ Generation.next: all that is ready
```

Deadlines, and whether the client is still there, are the engine's to look after.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta

log = logging.getLogger("maas.dataplane")

Ready = list[tuple[int, Delta]]
"""Which call, and what it gave."""


class Generation:
    """Calls of a language model that make up one answer. One coroutine reads it, and closes it.

    Args:
        calls: their deltas, as `Engine.generate` gives them.
        request_id: for the log.
    """

    __slots__ = ("_error", "_open", "_pumps", "_ready", "_request_id", "_waiter")

    def __init__(self, calls: Sequence[AsyncGenerator[Delta]], request_id: str):
        self._request_id = request_id
        self._ready: Ready = []
        self._waiter: asyncio.Future[None] | None = None
        self._error: MaasError | None = None
        self._open = len(calls)
        self._pumps = [
            asyncio.create_task(self._pump(number, deltas)) for number, deltas in enumerate(calls)
        ]

    async def _pump(self, number: int, deltas: AsyncGenerator[Delta]) -> None:
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    self._ready.append((number, delta))
                    self._wake()
        except MaasError as error:
            self.fail(error)
        except Exception:
            log.exception("a generation failed", extra={"request_id": self._request_id})
            self.fail(internal(self._request_id))
        finally:
            self._open -= 1
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: MaasError) -> None:
        """One call has failed, or nobody reads any more, and so the whole answer ends."""
        if self._error is None:
            self._error = error
        for pump in self._pumps:
            if pump is not asyncio.current_task():
                pump.cancel()
        self._wake()

    async def next(self) -> Ready:
        """Waits for what comes next.

        Returns:
            All that is ready, in order; nothing at the end.

        Raises:
            MaasError: the engine's own, after all that came before it.
        """
        while not self._ready:
            if self._error is not None:
                raise self._error
            if not self._open:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        ready, self._ready = self._ready, []
        return ready

    async def begin(self) -> Ready:
        """Waits for the first of it; closes it where that is an error, or is not waited for."""
        try:
            return await self.next()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Closes its calls, where they have not ended, and waits until they are."""
        if self._open:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.wait(self._pumps)


def internal(request_id: str) -> MaasError:
    """The error for what is our fault; the log has the rest, under the same id."""
    return MaasError(
        ErrorKind.INTERNAL, f"the server failed on this request; its id is {request_id}"
    )
