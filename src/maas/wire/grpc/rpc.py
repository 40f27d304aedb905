"""What an RPC is here: a path, what answers it, and the messages of a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from maas.core.messages import CallContext
from maas.protos import message, parse
from maas.wire.exchange import LARGE_BYTES, Exchange, Server
from maas.wire.grpc.framing import Deframer, frame
from maas.wire.http import Receive, Send

Unary = Callable[[Exchange, bytes | memoryview], Awaitable[bytes]]
"""One serialised message in, one out."""


class Stream:
    """A call whose messages come, or go, one after the other.

    Args:
        server: the data plane.
        context: who, under which id; each message gets a deadline of its own.
        receive: ASGI's.
        send: ASGI's; the head of the answer has been sent.
        deframer: for what comes.
    """

    def __init__(
        self,
        server: Server,
        context: CallContext,
        receive: Receive,
        send: Send,
        deframer: Deframer,
    ):
        self.server = server
        self.context = context
        self._receive = receive
        self._send = send
        self._deframer = deframer
        self._more = True
        self._coming: asyncio.Future[Mapping[str, Any]] | None = None

    async def next(self) -> bytes | None:
        """The next message; None at the end, also where the client has gone away.

        Raises:
            MaasError: INVALID_ARGUMENT, TOO_LARGE, UNSUPPORTED_MEDIA.
        """
        while True:
            found = await self._deframe()
            if found is not None:
                return found
            if not self._more:
                self._deframer.close()
                return None
            part = await self._receive()
            if part["type"] == "http.disconnect":
                self._more = False
                return None
            self._deframer.feed(part.get("body", b""))
            self._more = bool(part.get("more_body"))

    async def _deframe(self) -> bytes | None:
        if not self._deframer.heavy:
            return self._deframer.next()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.server.worker, self._deframer.next)

    def exchange(self) -> Exchange:
        """One message's way to its answer, with a deadline of its own."""
        deadline = time.monotonic() + self.server.settings.limits.call_s
        context = msgspec.structs.replace(self.context, deadline=deadline)
        return Exchange(self.server, None, context, b"", (), b"")

    async def gone(self, wait_s: float) -> bool:
        """Waits, and says whether the client has gone away; what it still sends is passed over."""
        if self._more:
            # This answers when something comes or the client goes, and is never cancelled.
            if self._coming is None:
                self._coming = asyncio.ensure_future(self._receive())
            await asyncio.wait((self._coming,), timeout=wait_s)
            if not self._coming.done():
                return False
            part, self._coming = self._coming.result(), None
            self._more = bool(part.get("more_body"))
        else:
            await asyncio.sleep(wait_s)
            part = await self._receive()
        return bool(part["type"] == "http.disconnect")

    async def send(self, data: bytes) -> None:
        """Sends one message."""
        await self._send({"type": "http.response.body", "body": frame(data), "more_body": True})


Streaming = Callable[[Stream], Awaitable[None]]
"""Reads and writes messages until both are done."""


class Rpc(Struct, frozen=True):
    """One method of a service.

    Args:
        dialect: for the metrics: `oip-grpc`.
        verb: for the metrics.
        unary: what answers it, where one message goes each way.
        streaming: what answers it otherwise.
        open: it answers without a key.
    """

    dialect: str
    verb: str
    unary: Unary | None = None
    streaming: Streaming | None = None
    open: bool = False


Rpcs = Mapping[bytes, Rpc]
"""By path: `/package.Service/Method`."""


def typed(request: str, handler: Callable[[Exchange, Any], Awaitable[Any]]) -> Unary:
    """A handler of messages as one of bytes.

    Args:
        request: full name of the request's message.
        handler: (exchange, request) → answer, both messages.
    """
    kind = message(request)

    async def unary(exchange: Exchange, data: bytes | memoryview) -> bytes:
        large = len(data) >= LARGE_BYTES
        sent = await exchange.off_loop(parse, kind, data) if large else parse(kind, data)
        answer: bytes = (await handler(exchange, sent)).SerializeToString()
        return answer

    return unary
