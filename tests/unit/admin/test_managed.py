"""`ManagedDeployments` over a real registry, manager and control socket; hosts are in memory."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from maas.access import Keyring
from maas.admin.answers import Answers
from maas.admin.deployments import LiveStatus
from maas.admin.managed import ManagedDeployments
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.records import PublishOptions
from maas.core.states import ServableState
from maas.registry import Registry, VersionDraft
from maas.serving.controlserver import ControlServer
from maas.serving.follower import Follower
from maas.serving.manager import SHARED, Manager
from maas.serving.messages import (
    Ack,
    Counted,
    Done,
    Failed,
    FromProcess,
    Hello,
    LoadModel,
    Question,
    Ready,
    Refused,
    Reply,
    StatisticsOf,
    Unloaded,
    UnloadModel,
)
from maas.serving.plan import KEYS_FILE, read_plan, replace_file
from maas.serving.planning import Catalogue
from maas.settings import ServingSettings
from maas.telemetry.logfiles import LogFolder, LogLine
from maas.telemetry.metrics import Metrics
from maas.telemetry.statistics import Tally
from maas.testing.deployments import INFO
from maas.testing.fleet import FakeFleet
from maas.testing.pipeline import REPORT, SIGNATURE

AVAILABLE, END = ServableState.AVAILABLE, ServableState.END


class Ingress:
    """A process that follows the plan; deaf while `hears` is cleared."""

    def __init__(self, run: Path):
        self.run = run
        self.hears = asyncio.Event()
        self.hears.set()
        self.defaults: dict[str, int | None] = {}
        self.aliases: dict[str, dict[str, int]] = {}
        self.follower = Follower(
            run / "control.sock", Hello("ingress", "ingress-1", 1), self._apply, Metrics()
        )
        self.task = asyncio.create_task(self.follower.run())

    async def _apply(self) -> Ack:
        await self.hears.wait()
        plan = read_plan(self.run)
        self.defaults = {name: model.default for name, model in plan.models.items()}
        self.aliases = {name: model.aliases for name, model in plan.models.items()}
        keys = Keyring.decode((self.run / KEYS_FILE).read_bytes()).number
        return Ack(plan.epoch, plan.number, keys)


class Ground:
    """Control without its HTTP API: everything that waits for what is loaded."""

    def __init__(self, run: Path, registry: Registry):
        self.run = run
        self.registry = registry
        self.server = ControlServer(
            self._handle,
            self._acked,
            lambda: self.manager.changed(),
            lambda process, series: None,
            self.answer,
        )
        self.manager = Manager(
            Catalogue(registry.snapshot, registry.artifact),
            ServingSettings(),
            run,
            "epoch",
            self.server.broadcast,
            self.server.acknowledged,
        )
        self.fleet = FakeFleet(run, self._say, self.manager.on_exit)
        self.rings: list[int] = []
        (run / "logs").mkdir()
        self.deployments = ManagedDeployments(
            self.manager,
            self.server,
            LogFolder(run / "logs"),
            self._write_keys,
            lambda: (),
            lambda: INFO,
        )

    async def start(self) -> None:
        await self._write_keys(0)
        await self.server.start(self.run / "control.sock")
        self.ingress = Ingress(self.run)
        self.tasks = [
            self.ingress.task,
            asyncio.create_task(self.manager.run(self.fleet)),
            asyncio.create_task(self._work()),
        ]

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            if (self.run / "plan.msgpack").exists() and self.fleet.work():
                self.manager.acked()

    async def stop(self) -> None:
        # Again and again: a `wait_for` whose event comes with the cancellation swallows it.
        pending = set(self.tasks)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)

    async def _handle(self, peer: object, message: FromProcess) -> None:
        pass

    async def answer(self, question: Question) -> Reply:
        answers = Answers(
            self.registry,
            self.deployments,
            self.manager.versions.keys(),
            self.server.recount,
            Tally(lambda: 0.0).statistics,
        )
        return await answers(question)

    def _acked(self) -> None:
        self.manager.acked()

    def _say(self, host_id: str, message: FromProcess) -> None:
        if isinstance(message, Ready):
            self.manager.on_ready(host_id, message)
        elif isinstance(message, Failed):
            self.manager.on_failed(host_id, message)
        elif isinstance(message, Unloaded):
            self.manager.on_unloaded(host_id, message)

    async def _write_keys(self, number: int) -> None:
        self.rings.append(number)
        replace_file(self.run / KEYS_FILE, Keyring(number).encode())

    def commit(self, name: str = "iris", host: str = "shared") -> ServableId:
        """Puts a version into the registry, as publishing does, and promotes nothing."""
        staged = self.registry.stage()
        (staged / "artifact").mkdir()
        (staged / "artifact" / "m.onnx").write_bytes(str(time.time_ns()).encode())
        record = self.registry.commit(
            staged,
            VersionDraft(
                name, "sha256:0", "f", "m.onnx", "onnx", {SIGNATURE.name: SIGNATURE},
                msgspec.structs.replace(REPORT, host=host), PublishOptions(promote=False), "ann",
            ),
        )  # fmt: skip
        return ServableId(record.name, record.version)

    async def serve(self, name: str = "iris") -> ServableId:
        """Publishes a version and waits until it serves."""
        servable = self.commit(name)
        await self.deployments.settled(servable, 5)
        self.registry.promote(name, servable.version)
        self.deployments.registry_changed()
        await self.deployments.switched(name, servable.version, 5)
        return servable


@pytest.fixture
async def ground(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    run = Path(tempfile.mkdtemp(prefix="maas"))
    servers: list[asyncio.Server] = []
    begin = asyncio.start_unix_server

    async def kept(*args: object, **kwargs: object) -> asyncio.Server:
        servers.append(await begin(*args, **kwargs))
        return servers[-1]

    monkeypatch.setattr(asyncio, "start_unix_server", kept)
    found = Ground(run, registry)
    await found.start()
    yield found
    await found.stop()
    for server in servers:
        server.close()
        await server.wait_closed()
    await asyncio.sleep(0.02)
    shutil.rmtree(run)


async def refused(doing: object) -> MaasError:
    with pytest.raises(MaasError) as caught:
        await doing  # type: ignore[misc]
    return caught.value


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


async def test_a_version_is_settled_when_it_is_loaded_and_known(ground: Ground) -> None:
    servable = ground.commit()
    await ground.deployments.settled(servable, 5)
    assert ground.deployments.status(servable) == LiveStatus(AVAILABLE, "", SHARED)
    assert ground.deployments.serving("iris") is None


async def test_it_is_not_settled_before_every_ingress_knows(ground: Ground) -> None:
    servable = ground.commit()
    ground.ingress.hears.clear()
    settling = asyncio.create_task(ground.deployments.settled(servable, 5))
    await until(lambda: ground.deployments.status(servable).state is AVAILABLE)
    await asyncio.sleep(0.05)
    assert not settling.done()
    ground.ingress.hears.set()
    await settling


async def test_why_it_does_not_load_is_said(ground: Ground) -> None:
    servable = ground.commit()
    ground.fleet.failures[servable] = "the file is torn"
    error = await refused(ground.deployments.settled(servable, 5))
    assert (error.kind, error.message) == (ErrorKind.UNAVAILABLE, "the file is torn")
    assert ground.deployments.status(servable) == LiveStatus(END, "the file is torn", "")


async def test_it_is_not_waited_for_without_end(ground: Ground) -> None:
    servable = ground.commit()
    ground.fleet.slow.add(servable)
    error = await refused(ground.deployments.settled(servable, 0.1))
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert error.message == "iris:1 is not loaded yet after 0.1 s"
    nobody = await refused(ground.deployments.settled(ServableId("nobody", 1), 0.1))
    assert nobody.kind is ErrorKind.DEADLINE_EXCEEDED


async def test_two_that_wait_for_the_same_version_both_get_it(ground: Ground) -> None:
    servable = ground.commit()
    await asyncio.gather(*(ground.deployments.settled(servable, 5) for _ in range(2)))


async def test_calls_are_switched_when_every_ingress_sends_them_there(ground: Ground) -> None:
    for version in (1, 2):
        await ground.serve()
        assert ground.deployments.serving("iris") == version
        assert ground.ingress.defaults["iris"] == version


async def test_a_switch_waits_for_a_deaf_ingress(ground: Ground) -> None:
    await ground.serve()
    second = ground.commit()
    await ground.deployments.settled(second, 5)
    ground.registry.promote("iris", 2)
    ground.deployments.registry_changed()
    ground.ingress.hears.clear()
    error = await refused(ground.deployments.switched("iris", 2, 0.2))
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert error.message == "calls to iris do not reach version 2 yet after 0.2 s"
    ground.ingress.hears.set()
    await ground.deployments.switched("iris", 2, 5)
    assert ground.ingress.defaults["iris"] == 2


async def test_a_switch_to_a_version_that_fails_says_why_and_the_old_one_serves(
    ground: Ground,
) -> None:
    await ground.serve()
    second = ground.commit()
    ground.fleet.failures[second] = "the file is torn"
    ground.registry.promote("iris", 2)
    ground.deployments.registry_changed()
    error = await refused(ground.deployments.switched("iris", 2, 5))
    assert (error.kind, error.message) == (ErrorKind.UNAVAILABLE, "the file is torn")
    assert ground.deployments.serving("iris") == 1


async def test_a_rollback_is_switched(ground: Ground) -> None:
    await ground.serve()
    await ground.serve()
    ground.registry.rollback("iris")
    ground.deployments.registry_changed()
    await ground.deployments.switched("iris", 1, 5)
    assert ground.ingress.defaults["iris"] == 1


async def test_a_change_is_applied_when_every_ingress_has_it(ground: Ground) -> None:
    await ground.serve()
    ground.registry.set_alias("iris", "prod", 1)
    await ground.deployments.applied(5)
    assert ground.ingress.aliases["iris"] == {"prod": 1}
    ground.registry.delete_alias("iris", "prod")
    ground.ingress.hears.clear()
    error = await refused(ground.deployments.applied(0.1))
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    ground.ingress.hears.set()
    await ground.deployments.applied(5)
    assert ground.ingress.aliases["iris"] == {}


async def test_the_registry_may_change_from_any_thread(ground: Ground) -> None:
    await ground.serve()
    ground.registry.set_alias("iris", "prod", 1)
    await asyncio.to_thread(ground.deployments.registry_changed)
    await until(lambda: ground.ingress.aliases["iris"] == {"prod": 1})


@pytest.mark.parametrize("host", ["shared", "dedicated"])
async def test_what_was_deleted_is_gone_when_no_host_holds_it(ground: Ground, host: str) -> None:
    servable = ground.commit(host=host)
    await ground.deployments.settled(servable, 5)
    ground.registry.delete_model("iris")
    ground.ingress.hears.clear()
    error = await refused(ground.deployments.gone([servable], 0.2))
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert any(servable in one.loaded for one in ground.fleet.hosts.values())
    ground.ingress.hears.set()
    await ground.deployments.gone([servable], 3)
    assert not any(servable in one.loaded for one in ground.fleet.hosts.values())
    assert ground.deployments.status(servable) == LiveStatus()


async def test_what_was_never_there_is_gone(ground: Ground) -> None:
    await ground.deployments.gone([ServableId("nobody", 1)], 5)
    await ground.deployments.gone([], 5)


async def test_keys_are_valid_everywhere_when_their_change_returns(ground: Ground) -> None:
    await ground.serve()
    await ground.deployments.keys_changed()
    assert ground.server.keys_acknowledged() == 1
    await asyncio.gather(*(ground.deployments.keys_changed() for _ in range(3)))
    assert ground.server.keys_acknowledged() == 4
    assert ground.rings == [0, 1, 2, 3, 4]


async def test_an_ingress_that_does_not_take_the_keys_is_reported(ground: Ground) -> None:
    await ground.serve()
    ground.ingress.hears.clear()
    error = await refused(ground.deployments.keys_changed())
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "not every process has acknowledged" in error.message
    ground.ingress.hears.set()


def write(path: Path, name: str, *lines: str) -> None:
    with (path / "logs" / f"{name}.log").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def line(message: str, second: int, **fields: str) -> str:
    at = f"2026-01-01T00:00:{second:02}.000+00:00"
    return json.dumps({"time": at, "level": "info", "process": "p", "message": message, **fields})


async def test_a_models_log_is_its_own_lines_and_its_own_hosts(ground: Ground) -> None:
    big = ground.commit("big", host="dedicated")
    await ground.deployments.settled(big, 5)
    await ground.serve("iris")
    host = ground.deployments.status(big).process
    write(
        ground.run, SHARED,
        line("iris loads", 1, process=SHARED, model="iris:1"),
        line("of the house", 2, process=SHARED),
        line("a namesake", 3, process=SHARED, model="iris2:1"),
    )  # fmt: skip
    write(ground.run, host, line("big loads", 4, process=host), "a library's chatter")
    write(ground.run, "control", line("iris serves", 5, process="control", model="iris:1"))
    write(ground.run, "control", line("it raised", 6, process="control", model="broken"))

    def messages(model: str | None) -> list[str]:
        return [one.message for one in ground.deployments.logs(model, 100)]

    assert messages("iris") == ["iris loads", "iris serves"]
    assert messages("big") == ["big loads", "a library's chatter"]
    assert messages("broken") == ["it raised"]
    assert messages("nobody") == []
    assert len(messages(None)) == 7
    assert [one.message for one in ground.deployments.logs("iris", 1)] == ["iris serves"]


async def test_a_models_log_is_followed(ground: Ground) -> None:
    await ground.serve("iris")
    async with aclosing(ground.deployments.follow_logs("iris")) as lines:
        first = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0.05)
        write(ground.run, SHARED, line("other", 1, model="x:1"), line("mine", 2, model="iris:1"))
        found: LogLine = await asyncio.wait_for(first, 5)
        assert found.message == "mine"


async def test_what_runs_is_told(ground: Ground) -> None:
    assert ground.deployments.info() is INFO
    assert ground.deployments.processes() == ()


async def test_an_ingress_has_a_model_unloaded_and_loaded_again(ground: Ground) -> None:
    servable = await ground.serve()
    ask = ground.ingress.follower.ask
    await ask(UnloadModel("iris", 5), 5)
    assert ground.deployments.status(servable).state is END
    assert ground.deployments.serving("iris") is None
    plan = read_plan(ground.run).models["iris"]
    assert plan.default is None
    assert "load it with POST" in plan.versions[1].reason
    error = await refused(ground.deployments.settled(servable, 5))
    assert error.kind is ErrorKind.FAILED_PRECONDITION
    assert await ask(UnloadModel("iris", 5), 5) == Done()
    await ask(LoadModel("iris", 5), 5)
    assert ground.deployments.status(servable).state is AVAILABLE
    assert ground.deployments.serving("iris") == 1
    assert ground.ingress.defaults == {"iris": 1}


async def test_promoting_a_version_loads_what_was_unloaded(ground: Ground) -> None:
    await ground.serve()
    await ground.ingress.follower.ask(UnloadModel("iris", 5), 5)
    second = ground.commit()
    ground.registry.promote("iris", second.version)
    ground.deployments.registry_changed()
    await ground.deployments.switched("iris", second.version, 5)
    assert not ground.registry.model("iris").unloaded


async def test_a_load_tries_what_failed_again(ground: Ground) -> None:
    servable = ServableId("iris", 1)
    ground.fleet.failures[servable] = "it is corrupt"
    ground.commit()
    ground.registry.promote("iris", 1)
    await until(lambda: ground.ingress.follower.acknowledged)
    ask = ground.ingress.follower.ask
    error = await refused(ask(LoadModel("iris", 5), 5))
    assert (error.kind, error.message) == (ErrorKind.UNAVAILABLE, "it is corrupt")
    del ground.fleet.failures[servable]
    await ask(LoadModel("iris", 5), 5)
    assert ground.deployments.serving("iris") == 1


async def test_what_cannot_be_loaded_is_said(ground: Ground) -> None:
    ask = ground.ingress.follower.ask
    await until(lambda: ground.ingress.follower.acknowledged)
    for question in (LoadModel("nobody", 5), UnloadModel("nobody", 5)):
        assert (await refused(ask(question, 5))).kind is ErrorKind.NOT_FOUND
    ground.commit()
    error = await refused(ask(LoadModel("iris", 5), 5))
    assert error.kind is ErrorKind.FAILED_PRECONDITION
    assert "no version of iris is promoted" in error.message
    await ground.serve("other")
    ground.ingress.hears.clear()
    reply = await ground.answer(UnloadModel("other", 0.05))
    assert isinstance(reply, Refused)
    assert reply.kind is ErrorKind.DEADLINE_EXCEEDED
    assert "takes no more calls" in reply.message
    ground.ingress.hears.set()


async def test_an_ingress_asks_for_statistics(ground: Ground) -> None:
    servable = await ground.serve()
    other = await ground.serve("other")
    ask = ground.ingress.follower.ask
    for asked, expected in (
        (StatisticsOf(), [servable, other]),
        (StatisticsOf("iris"), [servable]),
        (StatisticsOf("iris", 1), [servable]),
        (StatisticsOf("iris", 2), []),
    ):
        reply = await ask(asked, 5)
        assert isinstance(reply, Counted)
        assert [one.servable for one in reply.versions] == expected
