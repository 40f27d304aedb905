"""An open-loop HTTP/1.1 load generator: requests leave on a schedule, whatever the answers do.

Every latency counts from the moment its request was due, so a pause of the server shows in all the
requests that were due during it (no coordinated omission). One thread over epoll; it spins when
the next request is near, so that no timer's coarseness ends up in the figures.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import select
import socket
import time
import urllib.parse
from collections import deque
from collections.abc import Sequence
from pathlib import Path

SPIN_S = 0.002
GIVE_UP_S = 10.0


def schedule(rate: float, seconds: float, arrivals: str) -> list[float]:
    """The moments at which requests are due, in seconds from the start."""
    count = max(1, round(rate * seconds))
    if arrivals == "constant":
        return [index / rate for index in range(count)]
    dice = random.Random(0)
    moments = []
    now = 0.0
    for _ in range(count):
        moments.append(now)
        now += dice.expovariate(rate)
    return moments


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the ordered values lie (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def complete(answer: bytes) -> bool:
    """Whether these bytes are one whole HTTP/1.1 response."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(lower[at + 17 :].split(b"\r\n", 1)[0])


class Generator:
    """Sends one request over and over on a fixed set of connections."""

    def __init__(self, url: str, body: bytes, connections: int) -> None:
        """Connect.

        Args:
            url: Where to post; `http` only.
            body: JSON.
            connections: How many requests may wait for their answers at once.
        """
        parts = urllib.parse.urlsplit(url)
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(connections):
            connection = socket.create_connection((parts.hostname or "", parts.port or 80))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)

    def run(self, due: Sequence[float]) -> tuple[list[float], list[float], int]:
        """Send what is due, when it is due, and wait for every answer.

        Args:
            due: Seconds from the start, ascending.

        Returns:
            Latencies in seconds from when each request was due; how many seconds after that each
            was sent; the number of answers other than 200.

        Raises:
            RuntimeError: A connection was closed, or the last answers did not come.
        """
        free = deque(self._sockets)
        since: dict[int, float] = {}
        partial: dict[int, bytes] = {}
        latencies: list[float] = []
        lateness: list[float] = []
        errors = 0
        clock = time.perf_counter
        start = clock()
        index = 0
        while index < len(due) or since:
            now = clock() - start
            while index < len(due) and free and due[index] <= now:
                number = free.popleft()
                self._sockets[number].sendall(self._request)
                since[number] = due[index]
                lateness.append(now - due[index])
                index += 1
                now = clock() - start
            if now > due[-1] + GIVE_UP_S:
                raise RuntimeError(f"{len(due) - index + len(since)} answers did not come")
            for number, _ in self._poll.poll(self._wait(due, index, now, bool(free))):
                answer = partial.pop(number, b"") + self._sockets[number].recv(1 << 16)
                if not answer:
                    raise RuntimeError("the server closed a connection")
                if not complete(answer):
                    partial[number] = answer
                    continue
                latencies.append(clock() - start - since.pop(number))
                errors += not answer.startswith(b"HTTP/1.1 200")
                free.append(number)
        return latencies, lateness, errors

    @staticmethod
    def _wait(due: Sequence[float], index: int, now: float, free: bool) -> float:
        if index < len(due) and free:
            return max(0.0, due[index] - now - SPIN_S)
        return SPIN_S


def main() -> None:
    """Measure and print one line of JSON (`Latency` in load.py)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--arrivals", choices=("constant", "poisson"), default="constant")
    options = parser.parse_args()

    generator = Generator(options.url, options.body.read_bytes(), options.connections)
    gc.disable()
    generator.run(schedule(options.rate, 0.5, options.arrivals))  # warm-up
    due = schedule(options.rate, options.seconds, options.arrivals)
    latencies, lateness, errors = generator.run(due)
    latencies.sort()
    lateness.sort()
    found = {
        "arrivals": options.arrivals,
        "rate": options.rate,
        "answered": len(latencies) - errors,
        "errors": errors,
        "p50_us": percentile(latencies, 0.5) * 1e6,
        "p90_us": percentile(latencies, 0.9) * 1e6,
        "p99_us": percentile(latencies, 0.99) * 1e6,
        "p999_us": percentile(latencies, 0.999) * 1e6,
        "max_us": latencies[-1] * 1e6,
        "late_p99_us": percentile(lateness, 0.99) * 1e6,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
