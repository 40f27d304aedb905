"""Answers that go out as they come: server-sent events, one for each token.

```
Generation.next ─▶ Events.write ─▶ one send     (all that is ready at once)
```

A client that goes away is noticed by the send that follows, and between sends by the engine; its
calls are then closed, and their places are free after the step under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.wire.generation import Generation, Ready, internal
from maas.wire.http import Header, Send, let_go, model_header

log = logging.getLogger("maas.dataplane")

EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_UNBUFFERED = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))
"""No proxy keeps it, and none waits for more of it before it passes it on."""


class Events(Protocol):
    """A dialect's way of writing an answer as events."""

    def write(self, ready: Ready) -> bytes:
        """Writes what has come; nothing where there is nothing to say yet."""
        ...

    def end(self) -> bytes:
        """Writes what follows the last of it."""
        ...

    def fail(self, error: MaasError) -> bytes:
        """Writes why nothing more comes."""
        ...


class Streamed:
    """An answer that goes out piece by piece. To be closed, however it ends.

    Args:
        generation: what it comes from.
        first: what has come of it already, so that errors before it are plain answers.
        events: how it is written.
        servable: who answers, for `maas-model`.
        request_id: for the log.
        patience_s: how long a client may take for a piece.
        headers: further ones.
    """

    __slots__ = (
        "_events", "_first", "_generation", "_over", "_request_id", "headers", "patience_s",
        "servable", "status",
    )  # fmt: skip

    def __init__(
        self,
        generation: Generation,
        first: Ready,
        events: Events,
        servable: ServableId,
        request_id: str,
        patience_s: float,
        headers: Sequence[Header] = (),
    ):
        self._generation = generation
        self._first = first
        self._events = events
        self._request_id = request_id
        self._over = False
        self.servable = servable
        self.patience_s = patience_s
        self.headers = headers
        self.status = 200

    async def next(self) -> bytes:
        """The next piece, never empty before the end; empty at the end.

        Raises:
            MaasError: CANCELLED where the client has gone. Every other error is a piece.
        """
        if self._over:
            return b""
        try:
            piece = b""
            while not piece:
                ready = self._first or await self._generation.next()
                self._first = []
                if not ready:
                    self._over = True
                    return self._events.end()
                piece = self._events.write(ready)
            return piece
        except MaasError as error:
            if error.kind is ErrorKind.CANCELLED:
                raise
            failure = error
        except Exception:
            log.exception("a stream failed", extra={"request_id": self._request_id})
            failure = internal(self._request_id)
        self._over = True
        return self._events.fail(failure)

    def abandon(self) -> None:
        """The client has gone: `next` raises CANCELLED."""
        self._generation.fail(MaasError(ErrorKind.CANCELLED, "the client went away"))

    async def close(self) -> None:
        """Closes the calls it comes from, where they have not ended."""
        await self._generation.close()


class _Sender:
    """Sends pieces that others follow; each leaves once the one before it has been taken.

    So a piece on its way and the next one in the making are waited for together.

    Args:
        send: ASGI's.
        patience_s: how long a client may take for a piece.
        gone: called where a piece finds that the client has gone.
    """

    __slots__ = ("_gone", "_patience_s", "_send", "_sending", "_waiter")

    def __init__(self, send: Send, patience_s: float, gone: Callable[[], None]):
        self._send = send
        self._patience_s = patience_s
        self._gone = gone
        self._sending: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def send(self, piece: bytes) -> bool:
        """Sends a piece; False where the client does not take the one before it in time.

        Raises:
            OSError: the client has gone.
        """
        if self._sending is not None and not await self.taken():
            return False
        sending = self._send({"type": "http.response.body", "body": piece, "more_body": True})
        if isinstance(sending, asyncio.Future):
            # Envoy's: it is set in the end, whatever became of it here, so it is never cancelled.
            self._sending = sending
            sending.add_done_callback(self._sent)
            return True
        # uvicorn's front: a coroutine, which may be cancelled.
        try:
            await asyncio.wait_for(sending, self._patience_s)
        except TimeoutError:
            return False
        return True

    async def taken(self) -> bool:
        """Waits until the last piece has been taken; False where it is not in time.

        Raises:
            OSError: the client has gone.
        """
        sending = self._sending
        if sending is None:
            return True
        if not sending.done():
            # Waiting beside it is cheaper than a shield and a timeout around it.
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(self._patience_s, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
            if not sending.done():
                return False
        self._sending = None
        sending.result()
        return True

    def _sent(self, sending: asyncio.Future[None]) -> None:
        error = sending.exception()  # read, also where nobody waits for it any more
        if isinstance(error, OSError):
            let_go(error)
            self._gone()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def send_streamed(send: Send, answer: Streamed, request_id: str) -> None:
    """Sends an answer as it comes, and closes it however it ends."""
    headers = [
        EVENTS,
        *_UNBUFFERED,
        (b"x-request-id", request_id.encode("ascii")),
        (b"maas-model", model_header(answer.servable)),
        *answer.headers,
    ]
    sender = _Sender(send, answer.patience_s, answer.abandon)
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        taken = True
        while taken and (piece := await answer.next()):
            taken = await sender.send(piece)
        if not (taken and await sender.taken()):
            log.info("a client stopped reading", extra={"request_id": request_id})
    except MaasError:
        return
    except OSError as error:
        # The front's way of saying that the client went away.
        let_go(error)
        return
    finally:
        await answer.close()
    try:
        end = {"type": "http.response.body", "body": b"", "more_body": False}
        await asyncio.wait_for(_ended(send, end), answer.patience_s)
    except OSError as error:  # a TimeoutError, too
        let_go(error)


async def _ended(send: Send, end: dict[str, object]) -> None:
    await send(end)
