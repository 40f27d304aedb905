"""The router over hosts that are processes, and die."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import maas_test_models
import numpy as np
import pytest
from maas_test_models import BATCHED, DEADLY, REFUSED

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef, ServableId, parse_ref
from maas.core.messages import CallContext, InferCall, InferReply, ModelView, Principal
from maas.core.states import ServableState
from maas.serving.messages import FromProcess, Lost, Overdue, Want
from maas.serving.plan import SCHEMA, HostPlan, ModelPlan, Plan, VersionPlan
from maas.serving.router import Router
from maas.settings import ServingSettings

START, LOADING, AVAILABLE = ServableState.START, ServableState.LOADING, ServableState.AVAILABLE
UNLOADING, END = ServableState.UNLOADING, ServableState.END
PROGRAM = maas_test_models.__file__


def context(seconds: float = 20) -> CallContext:
    return CallContext("r", Principal("", "ann", "caller"), time.monotonic() + seconds, "oip")


def call(first: float = 1, version: int = 1, name: str = "m", seconds: float = 20) -> InferCall:
    inputs = {"x": np.array([[first, 0]], np.float32)}
    return InferCall(ServableId(name, version), BATCHED, inputs, 1, None, context(seconds))


def version(
    state: ServableState = AVAILABLE, host: str = "host-1", reason: str = ""
) -> VersionPlan:
    return VersionPlan(
        state, reason, host, "numpy", "numpy", "/models/m", "m.txt", "text", {BATCHED.name: BATCHED}
    )


def model(
    versions: Mapping[int, VersionPlan], default: int | None = None, **aliases: int
) -> ModelPlan:
    return ModelPlan(dict(versions), default, aliases)


class House:
    """An ingress's router and the host processes it talks to."""

    def __init__(self, run: Path, settings: ServingSettings):
        self.run = run
        self.said: list[FromProcess] = []
        self.router = Router(settings, 1000, 0.0, self.said.append)
        self.processes: list[subprocess.Popen[str]] = []
        self.number = 0

    def socket(self, host_id: str) -> str:
        return str(self.run / f"{host_id}.sock")

    async def host(self, host_id: str = "host-1", *holds: str) -> subprocess.Popen[str]:
        """Starts a process; returns when its socket is there."""
        process = self.start(host_id, *holds)
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        return process

    def start(self, host_id: str = "host-1", *holds: str) -> subprocess.Popen[str]:
        """Starts a process; its socket will be there in a moment."""
        process = subprocess.Popen(
            [sys.executable, PROGRAM, self.socket(host_id), *(holds or ("m:1",))],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.processes.append(process)
        return process

    async def follow(
        self, incarnation: int = 1, hosts: tuple[str, ...] = ("host-1",), **models: ModelPlan
    ) -> None:
        self.number += 1
        plans = {
            host_id: HostPlan(self.socket(host_id), incarnation, False, ()) for host_id in hosts
        }
        plan = Plan(SCHEMA, "e", self.number, models or {"m": model({1: version()}, 1)}, plans)
        await self.router.follow(plan, connect_s=0.2)

    async def close(self) -> None:
        await self.router.follow(Plan(SCHEMA, "e", 10_000, {}, {}))
        for process in self.processes:
            process.kill()
            await asyncio.to_thread(process.wait)
            assert process.stdout is not None
            process.stdout.close()
        await asyncio.sleep(0.05)

    def said_of(self, kind: type) -> list[FromProcess]:
        return [message for message in self.said if isinstance(message, kind)]


@pytest.fixture
async def house(run: Path) -> AsyncIterator[House]:
    found = House(run, ServingSettings(grace_s=0.1))
    yield found
    await found.close()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


def refused(router: Router, ref: str) -> MaasError:
    with pytest.raises(MaasError) as caught:
        router.resolve(parse_ref(ref), context())
    return caught.value


async def error_of(reply: object) -> MaasError:
    with pytest.raises(MaasError) as caught:
        await reply  # type: ignore[misc]
    return caught.value


VERSIONS = {1: version(END), 2: version(), 3: version(LOADING)}


@pytest.mark.parametrize(
    ("ref", "number", "defaulted"),
    [("m", 2, True), ("m:2", 2, False), ("m:1", 1, False), ("m@prod", 3, False)],
)
async def test_a_reference_means_a_version(
    house: House, ref: str, number: int, defaulted: bool
) -> None:
    await house.follow(m=model(VERSIONS, 2, prod=3))
    view = house.router.resolve(parse_ref(ref), context())
    assert view == ModelView(ServableId("m", number), {BATCHED.name: BATCHED}, "numpy", defaulted)


async def test_what_is_not_there_is_said_with_what_is(house: House) -> None:
    starting = refused(house.router, "m")
    assert starting.kind is ErrorKind.UNAVAILABLE
    assert starting.retry_after_s == 1.0
    assert "starting" in starting.message
    await house.router.follow(Plan(SCHEMA, "e", 0, {}, {}))
    assert refused(house.router, "m").message == "there is no model 'm' (none yet)"
    await house.follow(m=model(VERSIONS, 2, prod=3, beta=2), 词=model({1: version()}, 1))
    errors = {ref: refused(house.router, ref) for ref in ("x", "m:9", "m@x", "词@x")}
    assert {error.kind for error in errors.values()} == {ErrorKind.NOT_FOUND}
    assert errors["x"].message == "there is no model 'x'; published are m, 词"
    assert errors["m:9"].message == "model 'm' has no version 9; its versions are 1, 2, 3"
    assert "has no alias 'x' that serves; its aliases are beta, prod" in errors["m@x"].message
    assert errors["词@x"].message == "model '词' has no alias 'x'"


async def test_long_listings_are_cut(house: House) -> None:
    await house.follow(**{f"m{n:02}": model({1: version()}, 1) for n in range(20)})
    assert refused(house.router, "x").message.endswith("m06, m07 and 12 more")


@pytest.mark.parametrize(
    ("versions", "kind", "words"),
    [
        ({1: version(LOADING)}, ErrorKind.UNAVAILABLE, "m:1 is still loading"),
        ({1: version(START)}, ErrorKind.UNAVAILABLE, "m:1 is still loading"),
        ({1: version(END, reason="it is torn")}, ErrorKind.UNAVAILABLE, "it is torn"),
        ({1: version(END)}, ErrorKind.UNAVAILABLE, "or promote one"),
        ({}, ErrorKind.NOT_FOUND, "has no versions"),
    ],
)
async def test_a_model_that_does_not_serve_says_why(
    house: House, versions: dict[int, VersionPlan], kind: ErrorKind, words: str
) -> None:
    await house.follow(m=model(versions))
    error = refused(house.router, "m")
    assert error.kind is kind
    assert words in error.message


async def test_a_reference_follows_the_plan(house: House) -> None:
    await house.follow(m=model({1: version(END), 2: version(END)}, 1, prod=1))
    ref, prod = ModelRef("m"), ModelRef("m", alias="prod")
    assert house.router.resolve(ref, context()).servable.version == 1
    await house.follow(m=model({1: version(END), 2: version(END)}, 2, prod=2))
    assert house.router.resolve(ref, context()).servable.version == 2
    assert house.router.resolve(prod, context()).servable.version == 2
    await house.follow(x=model({}))
    assert refused(house.router, "m").kind is ErrorKind.NOT_FOUND


async def test_statuses_are_newest_first(house: House) -> None:
    await house.follow(m=model({1: version(END, reason="torn"), 3: version(), 2: version(START)}))
    found = [(s.servable.version, s.state, s.reason) for s in house.router.statuses("m")]
    assert found == [(3, AVAILABLE, ""), (2, START, ""), (1, END, "torn")]
    with pytest.raises(MaasError):
        house.router.statuses("x")


async def test_calls_are_answered(house: House) -> None:
    await house.host("host-1", "m:1", "m:2")
    await house.host("host-2", "n:1")
    await house.follow(
        hosts=("host-1", "host-2"),
        m=model({1: version(), 2: version()}, 1),
        n=model({1: version(host="host-2")}, 1),
    )
    calls = [call(1), call(2, version=2), call(3, name="n")]
    replies = await asyncio.gather(*(house.router.infer(one) for one in calls))
    assert [reply.outputs["y"][0, 0] for reply in replies] == [2, 4, 6]
    assert [str(reply.servable) for reply in replies] == ["m:1", "m:2", "n:1"]


async def test_the_models_own_error_is_the_callers(house: House) -> None:
    await house.host()
    await house.follow()
    error = await error_of(house.router.infer(call(REFUSED)))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert house.said == []


async def test_a_call_waits_for_a_host_that_is_not_there_yet(house: House) -> None:
    await house.follow()
    waiting = asyncio.create_task(house.router.infer(call()))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await house.host()
    assert (await waiting).outputs["y"][0, 0] == 2


async def test_a_call_waits_for_a_version_that_loads(house: House) -> None:
    await house.host()
    await house.follow(m=model({1: version(LOADING)}))
    waiting = asyncio.create_task(house.router.infer(call()))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await house.follow()
    assert (await waiting).outputs["y"][0, 0] == 2
    assert house.said == []


async def test_a_call_does_not_wait_beyond_its_deadline(house: House) -> None:
    await house.follow(m=model({1: version(LOADING)}))
    error = await error_of(house.router.infer(call(seconds=0.05)))
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert "LOADING" in error.message


async def test_a_version_that_failed_is_unavailable_with_its_reason(house: House) -> None:
    await house.follow(m=model({1: version(END, reason="the file is torn")}))
    error = await error_of(house.router.infer(call()))
    assert error.kind is ErrorKind.UNAVAILABLE
    assert error.message == "m:1 is not loaded: the file is torn"


async def test_a_version_that_fails_while_a_call_waits(house: House) -> None:
    await house.follow(m=model({1: version(LOADING)}))
    waiting = asyncio.create_task(house.router.infer(call()))
    await asyncio.sleep(0.05)
    await house.follow(m=model({1: version(END, reason="the file is torn")}))
    assert (await error_of(waiting)).kind is ErrorKind.UNAVAILABLE


async def test_a_version_that_is_not_loaded_is_asked_for(house: House) -> None:
    await house.host()
    await house.follow(m=model({1: version(END)}))
    waiting = [asyncio.create_task(house.router.infer(call(n))) for n in range(2)]
    await until(lambda: bool(house.said))
    assert set(house.said) == {Want("m", 1)}
    await house.follow(m=model({1: version(LOADING)}))
    await house.follow()
    assert [(await one).outputs["y"][0, 0] for one in waiting] == [0, 2]


async def test_a_version_that_is_deleted_while_a_call_waits(house: House) -> None:
    await house.follow(m=model({1: version(LOADING)}))
    waiting = asyncio.create_task(house.router.infer(call()))
    await asyncio.sleep(0.05)
    await house.follow(x=model({}))
    error = await error_of(waiting)
    assert (error.kind, error.message) == (ErrorKind.NOT_FOUND, "m:1 was deleted")


async def test_a_version_that_is_unloading_still_answers(house: House) -> None:
    await house.host()
    await house.follow()
    await house.follow(m=model({1: version(UNLOADING)}))
    assert (await house.router.infer(call())).outputs["y"][0, 0] == 2


async def test_a_call_whose_host_died_is_answered_by_its_successor(house: House) -> None:
    first = await house.host()
    await house.follow()
    assert (await house.router.infer(call())).outputs["y"][0, 0] == 2
    first.kill()
    calls = [asyncio.create_task(house.router.infer(call(n))) for n in range(10)]
    await until(lambda: bool(house.said))
    assert house.said_of(Lost)[0].host == "host-1"
    await house.follow(2, m=model({1: version(LOADING)}, 1))
    await house.host()
    await house.follow(2)
    replies: list[InferReply] = await asyncio.gather(*calls)
    assert [reply.outputs["y"][0, 0] for reply in replies] == [2 * n for n in range(10)]
    assert len(house.said_of(Lost)) == 1


async def test_what_was_in_flight_is_named(house: House) -> None:
    await house.host("host-1", "m:1", "n:4")
    await house.follow(m=model({1: version()}, 1), n=model({4: version()}, 4))
    deadly = asyncio.create_task(house.router.infer(call(DEADLY, name="n", version=4)))
    await until(lambda: bool(house.said))
    assert house.said[0] == Lost("host-1", 1, (("n", 4),))
    deadly.cancel()
    await asyncio.gather(deadly, return_exceptions=True)


async def test_a_host_that_takes_a_connection_while_it_dies_has_died_once(house: House) -> None:
    """A killed process's connections can close before the socket it listens on does."""
    connections = 0

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await reader.read(1)
        writer.close()

    path = Path(house.socket("host-1"))
    server = await asyncio.start_unix_server(die, path)
    await house.follow()
    waiting = asyncio.create_task(house.router.infer(call()))
    await asyncio.sleep(0.1)
    server.close()
    await server.wait_closed()
    await house.host()
    await house.follow(2)
    assert (await waiting).outputs["y"][0, 0] == 2
    assert house.said == [Lost("host-1", 1, (("m", 1),))]


async def test_a_call_that_kills_two_hosts_is_not_tried_on_a_third(house: House) -> None:
    await house.host()
    await house.follow()
    deadly = asyncio.create_task(house.router.infer(call(DEADLY)))
    await until(lambda: bool(house.said))
    # Its socket has the place of the first one's: it may be dead before it says that it is ready.
    house.start()
    await house.follow(2)
    error = await error_of(deadly)
    assert error.kind is ErrorKind.UNAVAILABLE
    assert error.message == "the process of m:1 died twice while it worked on this call"
    third = await house.host()
    await house.follow(3)
    assert (await house.router.infer(call())).outputs["y"][0, 0] == 2
    assert third.poll() is None


async def test_a_host_that_lacks_the_version_is_asked_again(house: House) -> None:
    await house.host("host-1", "other:1")
    await house.follow()
    waiting = asyncio.create_task(house.router.infer(call()))
    await asyncio.sleep(0.1)
    await house.host("host-2")
    await house.follow(hosts=("host-2",), m=model({1: version(host="host-2")}, 1))
    assert (await waiting).outputs["y"][0, 0] == 2


async def test_a_host_that_never_has_the_version_is_given_up_at_the_deadline(house: House) -> None:
    await house.host("host-1", "other:1")
    await house.follow()
    error = await error_of(house.router.infer(call(seconds=0.1)))
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED


async def test_calls_in_flight_end_when_their_host_leaves_the_plan(house: House) -> None:
    await house.host()
    await house.host("host-2")
    await house.follow(hosts=("host-1", "host-2"))
    calls = [asyncio.create_task(house.router.infer(call(n))) for n in range(5)]
    await asyncio.sleep(0)
    await house.follow(hosts=("host-2",), m=model({1: version(host="host-2")}, 1))
    assert [(await one).outputs["y"][0, 0] for one in calls] == [0, 2, 4, 6, 8]
    assert house.said == []


async def test_a_host_that_hangs_is_reported_with_its_incarnation(house: House) -> None:
    await house.host()
    await house.follow(7)
    error = await error_of(house.router.infer(call(maas_test_models.HOLD, seconds=0.05)))
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    await until(lambda: bool(house.said))
    assert house.said == [Overdue("host-1", 7, "m", 1)]
