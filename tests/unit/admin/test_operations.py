from __future__ import annotations

import asyncio
import threading

import pytest

from maas.admin.operations import MAX_EVENTS, MAX_MESSAGE, Operations, Reporter
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.records import OperationEvent, OperationState


async def collect(reporter: Reporter, after: int = 0) -> list[OperationEvent]:
    return [event async for event in reporter.follow(after, 60) if event is not None]


async def test_a_listener_gets_what_was_and_what_comes() -> None:
    reporter = Operations().begin("iris")
    reporter.step("detect", "one", 0.1)
    listening = asyncio.create_task(collect(reporter))
    await asyncio.sleep(0)
    thread = threading.Thread(target=reporter.emit, args=("scan", "two", 0.2))
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    reporter.fail(invalid("three"), "r1", None, created=False)
    found = await listening
    assert [(event.sequence, event.message) for event in found] == [
        (1, "one"),
        (2, "two"),
        (3, "three"),
    ]
    assert found[-1].stage == "failed"
    assert await collect(reporter) == found
    assert await collect(reporter, after=2) == found[2:]


@pytest.mark.parametrize("after", [3, 99, 10**30])
async def test_a_listener_who_has_everything_gets_nothing(after: int) -> None:
    reporter = Operations().begin("iris")
    reporter.fail(invalid("no"), "r1", None, created=False)
    assert await collect(reporter, after) == []


async def test_silence_is_broken_by_heartbeats() -> None:
    reporter = Operations().begin("iris")
    events = reporter.follow(0, heartbeat_s=0)
    assert await anext(events) is None
    reporter.step("scan", "a", 0.5)
    assert await anext(events) == OperationEvent(1, "scan", "a", 0.5)


async def test_two_listeners_both_get_everything() -> None:
    reporter = Operations().begin("iris")
    tasks = [asyncio.create_task(collect(reporter)) for _ in range(2)]
    for number in range(5):
        reporter.step("scan", str(number), number / 10)
        await asyncio.sleep(0)
    reporter.fail(invalid("end"), "r1", None, created=False)
    first, second = await asyncio.gather(*tasks)
    assert first == second
    assert len(first) == 6


async def test_fractions_never_go_back_nor_beyond_one() -> None:
    reporter = Operations().begin("iris")
    for fraction in (0.5, 0.2, 7.0, -1.0):
        reporter.step("scan", "", fraction)
    assert [event.fraction for event in reporter.snapshot().events] == [0.5, 0.5, 1.0, 1.0]


async def test_steps_are_bounded_but_the_end_is_recorded() -> None:
    reporter = Operations().begin("iris")
    for _ in range(MAX_EVENTS + 10):
        reporter.step("scan", "x" * (MAX_MESSAGE + 1), 0.1)
    reporter.fail(invalid("end"), "r1", None, created=False)
    events = reporter.snapshot().events
    assert len(events) == MAX_EVENTS + 1
    assert len(events[0].message) == MAX_MESSAGE
    assert events[-1].message == "end"


async def test_nothing_is_recorded_after_the_end() -> None:
    reporter = Operations().begin("iris")
    reporter.fail(invalid("end"), "r1", None, created=False)
    reporter.step("scan", "late", 0.1)
    assert len(reporter.snapshot().events) == 1
    assert reporter.snapshot().state is OperationState.FAILED


async def test_only_the_last_ended_ones_are_kept() -> None:
    operations = Operations(kept=2)
    running = operations.begin("running")
    ended = []
    for number in range(4):
        reporter = operations.begin(str(number))
        reporter.fail(invalid("end"), "r1", None, created=False)
        ended.append(reporter)
    operations.begin("last")
    assert operations.find(running.id) is running
    assert operations.get(ended[1].id) is None
    assert operations.find(ended[2].id) is ended[2]
    with pytest.raises(MaasError) as caught:
        operations.find(ended[0].id)
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_unfinished_ones_are_bounded() -> None:
    operations = Operations(unfinished=2)
    first = operations.begin("a")
    operations.begin("b")
    with pytest.raises(MaasError) as caught:
        operations.begin("c")
    assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_s
    operations.forget(first)
    operations.begin("c")
