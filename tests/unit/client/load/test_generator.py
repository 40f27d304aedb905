from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from maas.client.load.alarm import Alarm
from maas.client.load.generator import Generator
from maas.client.load.messages import LoadPlan, Tally

REQUEST = b"POST /m/predict HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"


async def measure(server: Any, stop_after: float = 0.0, **changes: Any) -> Tally:
    fields = {"connections": 4, "seconds": 0.3, "grace_s": 30.0, **changes}
    requests = (REQUEST + b"1", REQUEST + b"2")
    plan = LoadPlan("127.0.0.1", server.port, False, requests, **fields)
    generator = Generator(plan)
    await generator.connect()
    if stop_after:
        asyncio.get_running_loop().call_later(stop_after, generator.stop)
    tally = await generator.run()
    await asyncio.sleep(0)
    return tally


async def test_a_closed_loop_waits_for_its_answers(server: Any) -> None:
    server.wait_s = 0.02
    tally = await measure(server)
    assert tally.errors == {}
    assert tally.sent == tally.latency.count == len(server.seen)
    # Four connections, an answer each 20 ms at most.
    assert 4 <= tally.sent <= 4 * 16
    assert tally.latency.lowest >= 19_000_000
    assert {body for _, body in server.seen} == {b"1", b"2"}
    assert tally.in_time <= tally.sent
    assert sum(tally.timeline) == tally.in_time
    assert tally.lateness.count == 0


async def test_an_open_loop_sends_when_it_is_due(server: Any) -> None:
    tally = await measure(server, rate=100.0, arrivals="constant")
    assert tally.sent == len(server.seen) == 30
    assert tally.lateness.count == 30
    assert tally.errors == {}


async def test_what_had_to_wait_for_a_connection_is_in_the_latency(server: Any) -> None:
    # One connection, 50 ms an answer, 100 requests a second: the queue grows by 80 a second.
    server.wait_s = 0.05
    tally = await measure(server, connections=1, rate=100.0, arrivals="constant", grace_s=60.0)
    assert tally.latency.count == tally.sent == 30
    assert tally.latency.highest > 0.8e9
    assert tally.in_time < 10


async def test_what_never_got_a_connection_is_said(server: Any) -> None:
    server.wait_s = 0.2
    tally = await measure(server, connections=1, rate=100.0, arrivals="constant", grace_s=0.1)
    assert tally.errors["unsent"] > 20
    assert tally.errors["unsent"] + tally.latency.count + tally.errors.get("timeout", 0) == 30


async def test_errors_are_counted_by_status_and_are_no_latencies(server: Any) -> None:
    server.status = 429
    tally = await measure(server, rate=50.0, arrivals="constant")
    assert tally.errors == {"429": 15}
    assert tally.latency.count == tally.in_time == 0


async def test_a_connection_that_breaks_is_counted_and_made_anew(server: Any) -> None:
    server.hang_up = 3
    tally = await measure(server, rate=50.0, arrivals="constant")
    assert tally.errors == {"connection": 3}
    assert tally.latency.count == 12


@pytest.mark.parametrize("rate", [0.0, 50.0])
async def test_a_server_that_closes_after_each_answer(server: Any, rate: float) -> None:
    server.close = True
    tally = await measure(server, rate=rate, arrivals="constant")
    assert tally.errors == {}
    assert tally.latency.count == tally.sent >= (15 if rate else 4)


async def test_no_answer_at_all(server: Any) -> None:
    server.wait_s = 60
    tally = await measure(server, seconds=0.1, grace_s=0.1)
    assert tally.errors == {"timeout": 4}
    assert tally.latency.count == 0


async def test_it_can_be_stopped(server: Any) -> None:
    server.wait_s = 0.01
    tally = await measure(server, stop_after=0.1, seconds=60)
    assert 0.05 < tally.seconds < 30
    assert tally.latency.count > 0


async def test_garbage_instead_of_http_is_a_broken_connection(server: Any) -> None:
    server.head = "nonsense"
    tally = await measure(server, seconds=0.1)
    assert set(tally.errors) == {"connection"}
    assert tally.latency.count == 0


async def test_the_alarm_rings_once_at_its_time() -> None:
    rung: list[int] = []
    alarm = Alarm(asyncio.get_running_loop(), lambda: rung.append(time.monotonic_ns()))
    first = time.monotonic_ns() + 5_000_000
    alarm.set(first + 60_000_000_000)
    alarm.set(first)  # forgets the one before
    await asyncio.sleep(0.1)
    assert len(rung) == 1
    assert rung[0] >= first
    alarm.set(0)
    await asyncio.sleep(0.05)
    assert len(rung) == 2
    alarm.close()
