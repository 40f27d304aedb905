"""What the processes of a load test say to each other, as length-prefixed msgpack."""

from __future__ import annotations

import struct
from typing import BinaryIO, Literal, TypeVar

import msgspec
from msgspec import Struct, field

from maas.client.load.histogram import Histogram

T = TypeVar("T")
LENGTH = struct.Struct("<I")
READY = b"R"
GO = b"G"
SLICE_S = 0.1
"""Seconds that one entry of a tally's timeline covers."""


class LoadPlan(Struct, frozen=True):
    """What one process is to do.

    Args:
        host: the server's, without brackets.
        port: its port.
        tls: whether to speak TLS.
        requests: whole HTTP/1.1 requests, sent in turn.
        connections: open at once, which is the most requests that are under way.
        seconds: how long requests are sent.
        rate: requests a second of the open loop; 0 for the closed loop.
        arrivals: when they are due: `poisson` or `constant`.
        offset: of this process's first request, as a share of its interval (`constant`).
        seed: of the arrivals.
        grace_s: how long answers are waited for at the end.
    """

    host: str
    port: int
    tls: bool
    requests: tuple[bytes, ...]
    connections: int
    seconds: float
    rate: float = 0.0
    arrivals: Literal["poisson", "constant"] = "poisson"
    offset: float = 0.0
    seed: int = 0
    grace_s: float = 10.0


class Tally(Struct):
    """What one process, or all of them, measured.

    Args:
        seconds: how long requests were sent, which an interruption cuts short.
        latency: of answers with a 2xx status; from the time due in the open loop.
        lateness: how long after they were due requests were taken up, for want of processor
            time in the generator; the open loop alone.
        sent: requests sent, or in the open loop due.
        in_time: answers with a 2xx status before the end of `seconds`.
        errors: by status; `connection` for one that broke or was refused, `timeout` for no
            answer within the grace, `unsent` for what was due and found no free connection.
        timeline: answers with a 2xx status in each `SLICE_S`.
        cpu_s: processor seconds that the generator took.
    """

    seconds: float = 0.0
    latency: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    sent: int = 0
    in_time: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    timeline: list[int] = field(default_factory=list)
    cpu_s: float = 0.0

    def fail(self, what: str, count: int = 1) -> None:
        """Counts errors."""
        if count:
            self.errors[what] = self.errors.get(what, 0) + count

    def merge(self, other: Tally) -> None:
        """Adds what another process measured at the same time."""
        self.seconds = max(self.seconds, other.seconds)
        self.latency.merge(other.latency)
        self.lateness.merge(other.lateness)
        self.sent += other.sent
        self.in_time += other.in_time
        for what, count in other.errors.items():
            self.fail(what, count)
        longer = max(len(self.timeline), len(other.timeline))
        mine, theirs = (
            [*line, *([0] * (longer - len(line)))] for line in (self.timeline, other.timeline)
        )
        self.timeline = [a + b for a, b in zip(mine, theirs, strict=True)]
        self.cpu_s += other.cpu_s


def write_frame(stream: BinaryIO, value: object) -> None:
    """Writes one struct."""
    body = msgspec.msgpack.encode(value)
    stream.write(LENGTH.pack(len(body)) + body)
    stream.flush()


def read_frame(stream: BinaryIO, kind: type[T]) -> T:
    """Reads one struct.

    Raises:
        EOFError: the stream ended before it was whole.
    """
    head = stream.read(LENGTH.size)
    if len(head) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        body = stream.read(length)
        if len(body) == length:
            return msgspec.msgpack.decode(body, type=kind)
    raise EOFError
