"""Streams of `/v1/completions`, read as cheaply as can be: the readers share the engine's cores.

One thread over epoll. An event stream is kept as it comes and looked into when it has ended.
"""

from __future__ import annotations

import json
import select
import socket
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

READ_BYTES = 1 << 16
GIVE_UP_S = 300.0
DONE = b"data: [DONE]"
FIRST = b"data: {"


@dataclass
class Stream:
    """One answer.

    Attributes:
        first_s: Seconds from sending the request to the first event; 0 where none came.
        last_s: The same, to the end of the stream.
        events: What was sent, parsed.
        problem: What is wrong with it, if anything.
        cancelled: Whether its connection was closed on purpose.
    """

    first_s: float = 0.0
    last_s: float = 0.0
    events: list[Any] = field(default_factory=list)
    problem: str = ""
    cancelled: bool = False


@dataclass
class _Open:
    """A stream that has not ended."""

    socket: socket.socket
    stream: Stream
    at: int
    since: float
    raw: bytearray = field(default_factory=bytearray)
    chunks: int = 0


class Streams:
    """Connections to one server, kept open and used over and over."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._free: list[socket.socket] = []

    def wave(
        self,
        model: str,
        prompts: Sequence[list[int]],
        tokens: int,
        cancel_after: Sequence[int | None] | None = None,
    ) -> list[Stream]:
        """Ask for all at once, and read until all have been answered.

        Args:
            model: What to ask.
            prompts: A request for each.
            tokens: How many to write, whatever they are.
            cancel_after: Of each stream: after how many pieces read to close the connection.

        Returns:
            A stream for each prompt.

        Raises:
            RuntimeError: Not all ended in time.
        """
        poll = select.epoll()
        open_: dict[int, _Open] = {}
        streams = [Stream() for _ in prompts]
        requests = [_request(model, prompt, tokens) for prompt in prompts]
        while len(self._free) < len(requests):
            self._free.append(socket.create_connection(self._address))
        for at, request in enumerate(requests):
            connection = self._free.pop()
            open_[connection.fileno()] = _Open(connection, streams[at], at, time.perf_counter())
            poll.register(connection, select.EPOLLIN)
            connection.sendall(request)
        end = time.monotonic() + GIVE_UP_S
        while open_:
            if time.monotonic() > end:
                raise RuntimeError(f"{len(open_)} streams did not end")
            for number, _ in poll.poll(1.0):
                each = open_[number]
                limit = cancel_after[each.at] if cancel_after else None
                if (again := _read(each, limit)) is not None:
                    poll.unregister(number)
                    del open_[number]
                    if again:
                        self._free.append(each.socket)
                    else:
                        each.socket.close()
        poll.close()
        return streams

    def close(self) -> None:
        """Close the connections."""
        for connection in self._free:
            connection.close()
        self._free.clear()


def _read(each: _Open, limit: int | None) -> bool | None:
    """Read what is there.

    Returns:
        None while the stream goes on, then whether its connection can be used again.
    """
    data = each.socket.recv(READ_BYTES)
    now = time.perf_counter() - each.since
    each.raw += data
    each.chunks += 1
    if not each.stream.first_s and FIRST in each.raw:
        each.stream.first_s = now
    if limit is not None and each.chunks >= limit:
        each.stream.cancelled = True
        return False
    over = each.raw.endswith(b"0\r\n\r\n") or _whole(each.raw)
    if data and not over:
        return None
    each.stream.last_s = now
    each.stream.events, each.stream.problem = _parsed(bytes(each.raw))
    return over


def _request(model: str, prompt: list[int], tokens: int) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _whole(raw: bytearray) -> bool:
    """Whether it is a whole answer with a length: an error."""
    head, found, body = raw.partition(b"\r\n\r\n")
    at = head.lower().find(b"\r\ncontent-length:")
    if not found or at < 0:
        return False
    return len(body) >= int(head[at + 17 :].split(b"\r\n", 1)[0])


def _parsed(raw: bytes) -> tuple[list[Any], str]:
    """The events of an answer, and what is wrong with it."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200" not in status:
        return [], f"{status}: {body[:300].decode(errors='replace')}"
    text = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        text += body[:length]
        body = body[length + 2 :]
    lines = [line for line in bytes(text).split(b"\n") if line.startswith(b"data: ")]
    if not lines or lines[-1].strip() != DONE:
        return [], "the stream ended without [DONE]"
    try:
        return [json.loads(line[6:]) for line in lines[:-1]], ""
    except ValueError as error:
        return [], f"an event is no JSON: {error}"


def whole(stream: Stream, tokens: int) -> str:
    """What keeps a stream from being a whole answer of so many tokens; empty where nothing does."""
    if stream.problem:
        return stream.problem
    if any("error" in event for event in stream.events):
        return str(next(event["error"] for event in stream.events if "error" in event))[:300]
    usage = [event["usage"] for event in stream.events if event.get("usage")]
    ends = [
        choice["finish_reason"]
        for event in stream.events
        for choice in event["choices"]
        if choice.get("finish_reason")
    ]
    if ends != ["length"]:
        return f"it finished with {ends}"
    if not usage or usage[-1]["completion_tokens"] != tokens:
        return f"it has {usage} instead of {tokens} tokens"
    return ""
