"""An ingress's side of the control socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from maas_test_controls import INGRESS, Control, until

from maas.core.errors import ErrorKind, MaasError
from maas.serving.follower import MOST_QUESTIONS, Follower
from maas.serving.messages import (
    LENGTH,
    Ack,
    Done,
    LoadModel,
    StatisticsOf,
    UnloadModel,
    Want,
)
from maas.telemetry.metrics import Metrics
from maas.telemetry.series import Series

StartControl = Callable[..., Awaitable[Control]]


class Ingress:
    """A follower, and the plan that its process holds."""

    def __init__(self, path: Path):
        self.held: Ack = Ack("epoch", 1, 0)
        self.applied = 0
        self.metrics = Metrics()
        self.follower = Follower(path, INGRESS, self._apply, self.metrics)
        self.task = asyncio.create_task(self.follower.run())

    async def _apply(self) -> Ack:
        self.applied += 1
        return self.held

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def ingress(run: Path) -> AsyncIterator[Ingress]:
    found = Ingress(run / "control.sock")
    yield found
    await found.stop()


async def test_a_follower_applies_and_acknowledges(control: Control, ingress: Ingress) -> None:
    assert not ingress.follower.acknowledged
    await until(lambda: control.server.acknowledged() == 1)
    assert ingress.follower.acknowledged
    ingress.held = Ack("epoch", 2, 7)
    control.change(2, keys=7)
    await until(lambda: control.server.keys_acknowledged() == 7)
    assert control.server.acknowledged() == 2
    assert ingress.applied == 2


async def test_a_follower_does_nothing_for_what_it_holds(
    control: Control, ingress: Ingress
) -> None:
    await until(lambda: control.server.acknowledged() == 1)
    for _ in range(3):
        control.change(1)
    ingress.held = Ack("epoch", 2, 0)
    control.change(2)
    await until(lambda: control.server.acknowledged() == 2)
    assert ingress.applied == 2


async def test_a_follower_waits_for_the_first_plan(
    start_control: StartControl, ingress: Ingress
) -> None:
    control = await start_control(number=0)
    await until(lambda: bool(control.heard))
    await asyncio.sleep(0.05)
    assert (ingress.applied, ingress.follower.acknowledged) == (0, False)
    control.change(1)
    await until(lambda: control.server.acknowledged() == 1)


async def test_a_follower_connects_again_and_says_who_it_is(
    start_control: StartControl, ingress: Ingress
) -> None:
    ingress.follower.say(Want("m", 1))  # nobody is there: it is lost, and nothing fails
    for epoch in ("first", "second"):
        ingress.held = Ack(epoch, 1, 0)
        control = await start_control(epoch)
        await until(lambda control=control: control.server.acknowledged() == 1)
        ingress.follower.say(Want("m", 2))
        await until(lambda control=control: len(control.heard) == 2)
        assert control.heard == [("ingress-1", INGRESS), ("ingress-1", Want("m", 2))]
        assert ingress.follower.acknowledged
        await control.stop()
    assert not ingress.task.done()


@pytest.mark.parametrize("data", [LENGTH.pack(3) + b"\xc1\xc1\xc1", b"\x01"], ids=["text", "half"])
async def test_a_follower_survives_a_control_that_talks_nonsense(
    run: Path, start_control: StartControl, ingress: Ingress, data: bytes
) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)  # its Hello
        writer.write(data)
        writer.close()
        babbled.set()

    babbled = asyncio.Event()
    babbling = await asyncio.start_unix_server(babble, run / "control.sock")
    await asyncio.wait_for(babbled.wait(), 5)
    babbling.close()
    await babbling.wait_closed()
    control = await start_control()
    await until(lambda: control.server.acknowledged() == 1)


async def test_a_follower_that_cannot_read_the_plan_tries_again(control: Control) -> None:
    tries: list[int] = []

    async def apply() -> Ack:
        tries.append(1)
        if len(tries) < 2:
            raise FileNotFoundError("plan.msgpack")
        return Ack("epoch", 1, 0)

    follower = Follower(control.path, INGRESS, apply, Metrics())
    task = asyncio.create_task(follower.run())
    await until(lambda: control.server.acknowledged() == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_follower_says_what_it_has_counted(control: Control, ingress: Ingress) -> None:
    ingress.metrics.counter("maas_calls_total", ("m", "1", "oip", "ok")).add(2)
    await until(lambda: "ingress-1" in control.stats)
    assert control.stats["ingress-1"] == (Series("maas_calls_total", ("m", "1", "oip", "ok"), 2.0),)


async def refused(doing: Awaitable[object]) -> MaasError:
    with pytest.raises(MaasError) as caught:
        await doing
    return caught.value


async def test_questions_are_answered_each_with_its_own(control: Control, ingress: Ingress) -> None:
    await until(lambda: ingress.follower.acknowledged)
    ingress.metrics.counter("maas_calls_total", ("m", "1", "oip", "ok")).add(2)
    asked = LoadModel("m", 1.5), UnloadModel("m", 2.0), StatisticsOf("m", 3)
    answers = await asyncio.gather(
        *(ingress.follower.ask(one, 5) for one in asked), return_exceptions=True
    )
    assert control.questions == [*asked]
    assert answers[0] == answers[2] == Done()
    assert isinstance(answers[1], MaasError)
    assert (answers[1].kind, answers[1].message) == (ErrorKind.NOT_FOUND, "there is no model m")
    # What was counted comes before the question.
    assert control.stats["ingress-1"][0].count == 2


async def test_a_question_waits_no_longer_than_it_says(control: Control, ingress: Ingress) -> None:
    await until(lambda: ingress.follower.acknowledged)
    control.answers.clear()
    error = await refused(ingress.follower.ask(StatisticsOf(), 0.02))
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "did not answer within 0.02 s" in error.message
    control.answers.set()  # an answer that nobody waits for any more is dropped
    assert await ingress.follower.ask(StatisticsOf(), 5) == Done()


async def test_no_more_questions_wait_than_may(control: Control, ingress: Ingress) -> None:
    await until(lambda: ingress.follower.acknowledged)
    control.answers.clear()
    asking = [
        asyncio.create_task(ingress.follower.ask(StatisticsOf(), 5)) for _ in range(MOST_QUESTIONS)
    ]
    await until(lambda: len(control.questions) == MOST_QUESTIONS)
    error = await refused(ingress.follower.ask(StatisticsOf(), 5))
    assert error.kind is ErrorKind.RESOURCE_EXHAUSTED
    control.answers.set()
    assert await asyncio.gather(*asking) == [Done()] * MOST_QUESTIONS


async def test_who_asks_is_told_when_control_goes_away(
    run: Path, start_control: StartControl, ingress: Ingress
) -> None:
    assert (await refused(ingress.follower.ask(StatisticsOf(), 5))).kind is ErrorKind.UNAVAILABLE
    control = await start_control()
    await until(lambda: ingress.follower.acknowledged)
    control.answers.clear()
    asking = asyncio.create_task(ingress.follower.ask(StatisticsOf(), 5))
    await until(lambda: len(control.questions) == 1)
    await control.stop()
    error = await refused(asking)
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "control process is away" in error.message
