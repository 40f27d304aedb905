from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from maas.client.errors import ServerUnreachable
from maas.client.load.messages import LoadPlan, Tally
from maas.client.load.run import run
from maas.client.load.summary import summarise

REQUEST = b"POST /m/predict HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"


def plan(port: int, **changes: Any) -> LoadPlan:
    fields = {"connections": 4, "seconds": 0.3, "grace_s": 30.0, **changes}
    return LoadPlan("127.0.0.1", port, False, (REQUEST,), **fields)


def test_processes_share_the_work(server: Any) -> None:
    seen: list[float] = []
    tally, interrupted = run(plan(server.port, rate=100.0, arrivals="constant"), 2, seen.append)
    assert not interrupted
    assert tally.sent == tally.latency.count == len(server.seen) == 30
    assert tally.seconds == pytest.approx(0.3, abs=0.05)
    assert tally.cpu_s > 0
    assert seen == sorted(seen)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C works, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_it_early_and_keeps_what_was_measured(server: Any) -> None:
    server.wait_s = 0.01

    sent = []

    def once(seconds: float) -> None:
        if seconds > 0.2 and not sent:
            sent.append(seconds)
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()

    tally, interrupted = run(plan(server.port, seconds=60), 1, once)
    assert interrupted, tally
    assert tally.latency.count == len(server.seen) > 0
    assert tally.seconds < 30


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServerUnreachable, match="could not be made"):
        run(plan(port), 1, lambda _seconds: None)


def summary_of(tally: Tally, shared: bool = False, **changes: Any) -> Any:
    return summarise(
        plan(1, **changes),
        tally,
        model="m",
        url="http://h",
        protocol="plain",
        rows=2,
        processes=1,
        shared=shared,
        interrupted=False,
    )


def tally_of(count: int, latency_ms: float = 1.0, seconds: float = 1.0, **fields: Any) -> Tally:
    tally = Tally(seconds=seconds, sent=count, in_time=count, timeline=[count], **fields)
    for _ in range(count):
        tally.latency.add(int(latency_ms * 1e6))
    return tally


def test_a_summary_in_people_s_units() -> None:
    summary = summary_of(tally_of(2000), shared=True)
    assert (summary.loop, summary.throughput, summary.rows_per_s) == ("closed", 2000, 4000)
    assert summary.latency_ms.max == 1.0
    assert summary.latency_ms.p999 == pytest.approx(1.0, rel=0.02)
    assert summary.lateness_ms is None
    assert summary.timeline == (2000, *[0] * 10)
    assert summary.notes == ("server and load generator share this machine's cores",)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=type(summary)) == summary


def test_what_to_doubt_is_said() -> None:
    def notes(*arguments: Any, **changes: Any) -> str:
        return " ".join(summary_of(*arguments, **changes).notes)

    assert "too few for the 99.9th" in notes(tally_of(999))
    assert "--processes" in notes(tally_of(2000, cpu_s=0.9))
    assert "did not keep up" in notes(tally_of(2000), rate=3000.0)
    assert "did not keep up" not in notes(tally_of(2000), rate=2001.0)
    late = tally_of(2000)
    for _ in range(2000):
        late.lateness.add(3_000_000)
    assert "3.0" in notes(late, rate=2000.0)
    assert notes(Tally()) == ""
