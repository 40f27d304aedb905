"""One HTTP/1.1 connection of a load test: a request at a time, kept alive between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

Answered = Callable[["Connection", int], None]
"""Hears of a whole answer: the connection, the status."""
Lost = Callable[["Connection"], None]
"""Hears that a connection is gone; `began` is not 0 where an answer was still owed."""


class Connection(asyncio.Protocol):
    """A connection, for `loop.create_connection`.

    Args:
        answered: called with every answer that is not informational.
        lost: called once, when it is closed by either side.

    Attributes:
        began: `time.monotonic_ns` that the latency of the request under way counts from; 0 where
            none is.
    """

    def __init__(self, answered: Answered, lost: Lost):
        self.began = 0
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        # uvloop's transports are of their own type.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, began: int) -> None:
        """Sends a request.

        Args:
            request: whole.
            began: ns that its latency counts from.
        """
        assert self._transport is not None
        self.began = began
        self._transport.write(request)

    def close(self) -> None:
        """Closes it, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Some bytes of an answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        """An answer is whole."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        if not self._parser.should_keep_alive():
            self.close()
        self._answered(self, status)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        self._lost(self)

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()
