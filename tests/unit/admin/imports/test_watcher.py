"""The watcher over real folders, a real registry, and a pipeline that examines nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maas.admin.imports.actions import Actions, Limits
from maas.admin.imports.discovery import scanner
from maas.admin.imports.ledger import FILE_NAME, Ledger
from maas.admin.imports.watched import Watched
from maas.admin.imports.watcher import WHOLE, Watcher, origin_of
from maas.admin.jobs import Jobs
from maas.core.identity import ServableId
from maas.core.records import PublishOptions
from maas.registry import Registry
from maas.settings import ImportSettings
from maas.testing.deployments import FakeDeployments
from maas.testing.pipeline import FakePipeline

OLD = 1_600_000_000


class World:
    """A data folder, a folder of models, and a watcher over it that is driven by hand."""

    def __init__(self, home: Path, models: Path, settings: ImportSettings):
        self.models = models
        self.home = home
        self.registry = Registry.open(home, lambda: datetime.now(UTC))
        self.deployments = FakeDeployments()
        self.pipeline = FakePipeline(self.registry)
        self.jobs = Jobs(self.pipeline, self.registry, self.deployments, concurrent=2, load_s=5)
        self.failed: set[ServableId] = set()
        self.watched = Watched(self.failed.__contains__)
        self.now_ns = 0
        self.now_s = 0.0
        self.settings = settings
        self.limits = Limits(1 << 20, 5, 5, settle_s=2, concurrent=2, trust=settings.trust)
        self.watcher = self.make()

    def make(self) -> Watcher:
        return Watcher(
            scanner(self.settings),
            self.registry,
            Ledger(self.home, origin_of(self.settings)),
            self.settings.poll_s,
            lambda save: Actions(
                self.registry,
                self.deployments,
                self.jobs,
                self.watched,
                self.limits,
                save,
                lambda: self.now_s,
                lambda: self.now_ns,
            ),
        )

    def put(self, version: str, content: bytes = b"", file: str = "model.onnx") -> Path:
        path = self.models / version / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or version.encode())
        return path

    def rest(self) -> None:
        """Time passes: what lies there has lain there for long."""
        self.now_ns = (OLD * 2) * 10**9
        self.now_s += 3

    async def round(self, *, rest: bool = True) -> None:
        """One look, and everything that follows from it."""
        if rest:
            self.rest()
        await self.watcher._round()
        await asyncio.gather(*self.watcher._tasks.values())

    async def restart(self) -> None:
        self.watched = Watched(self.failed.__contains__)
        self.watcher = self.make()
        self.watcher._recall(self.watcher._remembered())
        await self.round()

    def versions(self, name: str = "m") -> list[int]:
        models = {model.name: model for model in self.registry.snapshot()}
        return [version.version for version in models[name].versions] if name in models else []

    def states(self) -> dict[str, str]:
        return {f"{one.model}/{one.folder}".strip("/"): one.state for one in self.watcher.records()}

    def reason(self, folder: str) -> str:
        [found] = [one.reason for one in self.watcher.records() if one.folder == folder]
        return found

    async def close(self) -> None:
        await self.watcher.close()
        await self.jobs.close()
        self.registry.close()


Make = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path) -> Make:
    @asynccontextmanager
    async def make(**settings: Any) -> Any:
        models = tmp_path / "models"
        models.mkdir(exist_ok=True)
        if not settings:
            settings = {"base_path": str(models), "model_name": "m"}
        world = World(tmp_path / "home", models, ImportSettings(**settings))
        try:
            yield world
        finally:
            await world.close()

    return make


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    caplog.set_level("INFO", "maas.imports")

    def said() -> list[str]:
        lines = [record.getMessage() for record in caplog.records if record.name == "maas.imports"]
        caplog.clear()
        return lines

    return said


async def test_the_latest_version_serves_and_the_next_takes_over(
    world: Make, said: Callable[[], list[str]]
) -> None:
    async with world() as w:
        w.put("1")
        w.put("5")
        await w.round()
        assert w.versions() == [5]
        assert w.deployments.serving("m") == 5
        lines = said()
        assert lines[0] == "m:5 found; importing it"
        assert lines[1].startswith("m:5 imported in ")
        await w.round()
        assert said() == []
        w.put("7")
        await w.round()
        assert w.versions() == [7, 5]
        assert w.deployments.serving("m") == 7
        assert w.watched.held("m") == {7}
        [model] = w.watched.wanted(w.registry.snapshot())
        assert (model.default_version, model.previous_version) == (7, None)
        assert w.registry.model("m").previous_version == 5
        assert w.pipeline.options == PublishOptions(promote=False, version=7)
        assert w.registry.version("m", 7).created_by == "import"
        assert list((w.home / "staging").iterdir()) == []


async def test_a_folder_that_is_being_copied_waits_until_it_is_at_rest(world: Make) -> None:
    async with world() as w:
        path = w.put("1", b"ha")
        w.now_ns = path.stat().st_mtime_ns + 10**9
        await w.round(rest=False)
        assert (w.states(), w.versions()) == ({"m/1": "waiting"}, [])
        path.write_bytes(b"half")
        w.now_s += 1.9
        await w.round(rest=False)
        w.now_s += 1.9  # since the change, not since it was seen first
        await w.round(rest=False)
        assert w.versions() == []
        w.now_s += 0.2
        await w.round(rest=False)
        assert (w.states(), w.versions()) == ({"m/1": "imported"}, [1])


async def test_a_folder_renamed_into_its_place_is_taken_at_once(world: Make) -> None:
    async with world() as w:
        w.put("tmp-1")
        w.rest()
        (w.models / "tmp-1").rename(w.models / "1")
        await w.round(rest=False)
        assert w.versions() == [1]


async def test_a_file_from_the_future_is_taken_when_it_stays_as_it_is(world: Make) -> None:
    async with world() as w:
        path = w.put("1")
        os.utime(path, (OLD * 3, OLD * 3))
        await w.round()
        assert w.states() == {"m/1": "waiting"}
        await w.round()
        assert w.versions() == [1]


async def test_what_is_refused_is_said_once_and_tried_again_when_it_changes(
    world: Make, said: Callable[[], list[str]]
) -> None:
    async with world() as w:
        w.put("1")
        await w.round()
        w.put("2", b"bad")
        said()
        await w.round()
        await w.round()
        assert [line for line in said() if "refused" in line] == [
            "m:2 refused: model.onnx is not a model; expected any other file"
        ]
        assert w.states() == {"m/1": "imported", "m/2": "refused"}
        assert "not a model" in w.reason("2")
        assert w.deployments.serving("m") == 1
        w.put("2", b"good")
        await w.round()
        assert w.deployments.serving("m") == 2
        [operation] = [
            reporter.snapshot()
            for reporter in w.jobs.operations._reporters.values()
            if reporter.snapshot().error is not None
        ]
        assert operation.model == "m"


async def test_links_are_refused(world: Make) -> None:
    async with world() as w:
        (w.models / "1").mkdir()
        (w.models / "1" / "model.onnx").symlink_to("/etc/passwd")
        (w.models / "2").symlink_to("/etc")
        await w.round()
        assert w.states() == {"m/1": "refused", "m/2": "refused"}
        assert "a symbolic link" in w.reason("1")
        assert w.versions() == []


async def test_a_version_that_does_not_load_leaves_the_old_one_and_is_retired_with_its_folder(
    world: Make,
) -> None:
    async with world() as w:
        w.put("1")
        await w.round()
        w.deployments.failures[ServableId("m", 2)] = "it is too large"
        w.put("2")
        await w.round()
        assert (w.deployments.serving("m"), w.versions()) == (1, [2, 1])
        assert "too large" in w.reason("2")
        assert w.registry.model("m").default_version == 1
        shutil.rmtree(w.models / "2")
        await w.round()
        assert w.versions() == [1]


async def test_a_version_whose_folder_goes_is_deleted_once_another_serves(world: Make) -> None:
    async with world() as w:
        for number in "123":
            w.put(number)
        await w.round()
        shutil.rmtree(w.models / "3")
        await w.round()
        assert (w.versions(), w.deployments.serving("m")) == ([2], 2)
        # The same content may come back under its number, other content may not.
        w.put("3", b"3")
        await w.round()
        assert (w.versions(), w.deployments.serving("m")) == ([3, 2], 3)
        shutil.rmtree(w.models / "3")
        await w.round()
        w.put("3", b"other")
        await w.round()
        assert (w.versions(), w.deployments.serving("m")) == ([2], 2)
        assert "was other content before" in w.reason("3")


async def test_a_version_that_changes_in_place_stays_what_it_was(world: Make) -> None:
    async with world() as w:
        w.put("1")
        await w.round()
        os.utime(w.put("1"), (OLD, OLD))
        await w.round()
        assert w.states() == {"m/1": "imported"}
        w.put("1", b"other")
        await w.round()
        assert w.states() == {"m/1": "refused"}
        assert "exists with other content" in w.reason("1")
        assert (w.versions(), w.deployments.serving("m")) == ([1], 1)


@pytest.mark.parametrize("how", ["empty", "missing", "a file", "unmounted"])
async def test_what_serves_stays_where_the_whole_folder_is_gone(
    world: Make, said: Callable[[], list[str]], how: str
) -> None:
    async with world() as w:
        w.put("1")
        await w.round()
        shutil.rmtree(w.models)
        if how != "missing":
            w.models.touch() if how == "a file" else w.models.mkdir()
        said()
        await w.round()
        await w.round()
        assert len(said()) == 1
        assert (w.versions(), w.deployments.serving("m")) == ([1], 1)
        if how == "unmounted":
            w.put("2")
            await w.round()
            assert (w.versions(), w.deployments.serving("m")) == ([2], 2)


async def test_an_alias_keeps_a_version_that_would_be_retired(
    world: Make, said: Callable[[], list[str]]
) -> None:
    async with world() as w:
        w.put("1")
        await w.round()
        w.registry.set_alias("m", "prod", 1)
        w.put("2")
        shutil.rmtree(w.models / "1")
        await w.round()
        await w.round()
        assert len([line for line in said() if "m:1 stays" in line and "prod" in line]) == 1
        assert w.versions() == [2, 1]
        w.registry.delete_alias("m", "prod")
        await w.round()
        assert w.versions() == [2]


async def test_a_restart_knows_what_it_imported(world: Make) -> None:
    async with world() as w:
        w.put("1")
        w.put("2", b"bad")
        await w.round()
        w.pipeline.options = PublishOptions()
        (w.models / "2" / "model.onnx").unlink()
        await w.restart()
        assert w.pipeline.options == PublishOptions()  # nothing was published
        assert w.watched.held("m") == {1}
        assert w.states() == {"m/1": "imported", "m/2": "waiting"}
        shutil.rmtree(w.models / "2")
        w.put("3")
        shutil.rmtree(w.models / "1")
        await w.restart()
        assert w.versions() == [3]


async def test_a_restart_does_not_load_the_version_before_the_folder_was_looked_at(
    world: Make,
) -> None:
    async with world() as w:
        for number in "12":
            w.put(number)
            await w.round()
        w.watched = Watched(w.failed.__contains__)
        w.make()
        [model] = w.watched.wanted(w.registry.snapshot())
        assert (model.default_version, model.previous_version) == (2, None)


async def test_what_nobody_expected_is_logged_and_the_folder_looked_at_again(
    world: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(base_path="/nowhere-at-all", model_name="m", poll_s=0.05) as w:
        looks: list[int] = []
        thrice = asyncio.Event()
        loop = asyncio.get_running_loop()

        def broken() -> Any:
            looks.append(1)
            if len(looks) == 3:
                loop.call_soon_threadsafe(thrice.set)
            raise RuntimeError("unexpected")

        monkeypatch.setattr(w.watcher, "_scan", broken)
        await run_for(w.watcher, thrice.wait)
        assert w.watcher.ready.is_set()
        assert "it is tried again" in caplog.text


async def test_a_lost_ledger_costs_reading_and_nothing_else(world: Make) -> None:
    async with world() as w:
        w.put("1")
        await w.round()
        made = w.registry.version("m", 1)
        for content in (b"", b"{", b'{"folder:": 3}', b"\xff"):
            (w.home / FILE_NAME).write_bytes(content)
            await w.restart()
            assert w.registry.version("m", 1) == made
            assert w.states() == {"m/1": "imported"}


async def test_a_version_deleted_by_hand_stays_deleted_until_its_folder_changes(
    world: Make,
) -> None:
    async with world() as w:
        w.put("1")
        w.put("2")
        await w.round()
        w.registry.delete_version("m", 2)
        await w.round()
        assert w.versions() == []
        os.utime(w.models / "2" / "model.onnx", (OLD, OLD))
        await w.round()
        assert w.versions() == [2]
        assert w.registry.model("m").default_version == 2


async def test_a_rollback_by_hand_holds_until_the_folder_changes(world: Make) -> None:
    async with world() as w:
        for number in "12":
            w.put(number)
            await w.round()
        w.registry.rollback("m")
        await w.round()
        assert w.registry.model("m").default_version == 1
        w.put("3")
        await w.round()
        assert w.registry.model("m").default_version == 3


async def test_a_model_unloaded_by_hand_is_left_alone(world: Make) -> None:
    async with world() as w:
        w.put("1")
        await w.round()
        w.registry.unload("m")
        w.put("2")
        await w.round()
        assert w.versions() == [1]
        w.registry.promote("m", 1)
        await w.round()
        assert w.versions() == [2, 1]


async def test_a_repository_and_its_models_that_come_and_go(world: Make, tmp_path: Path) -> None:
    async with world(repository=str(tmp_path / "models")) as w:
        w.put("a/1")
        w.put("a/2")
        w.put("b/1")
        w.put("bad name/1")
        (w.models / "c").mkdir()
        await w.round()
        assert (w.versions("a"), w.versions("b")) == ([2], [1])
        assert w.states()["bad name"] == "refused"
        shutil.rmtree(w.models / "a")
        w.put("c/4")
        await w.round()
        assert [model.name for model in w.registry.snapshot()] == ["b", "c"]
        shutil.rmtree(w.models)
        await w.round()
        assert [model.name for model in w.registry.snapshot()] == ["b", "c"]
        assert w.states()[WHOLE] == "refused"
        w.models.mkdir()
        await w.round()
        assert [model.name for model in w.registry.snapshot()] == ["b", "c"]
        w.put("c/4")
        await w.restart()
        assert [model.name for model in w.registry.snapshot()] == ["c"]


async def test_other_models_are_none_of_its_business(world: Make, tmp_path: Path) -> None:
    async with world(repository=str(tmp_path / "models")) as w:
        w.put("a/1")
        await w.round()
        w.settings = ImportSettings(base_path=str(tmp_path / "models" / "b"), model_name="b")
        w.put("b/1")
        shutil.rmtree(w.models / "a")
        await w.restart()
        assert [model.name for model in w.registry.snapshot()] == ["a", "b"]


CONFIG = """model_config_list {{ config {{ name: 'm' base_path: '{}' {} }} {} }}"""


async def test_a_models_config_with_policies_and_labels(
    world: Make, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    file = tmp_path / "models.config"

    def write(about: str, others: str = "") -> None:
        file.write_text(CONFIG.format(tmp_path / "models", about, others))

    write("model_version_policy { all {} } version_labels { key: 'old' value: 1 }")
    async with world(config_file=str(file)) as w:
        for number in "123":
            w.put(number)
        await w.round()
        assert (w.versions(), w.watched.held("m")) == ([3, 2, 1], {1, 2, 3})
        assert w.registry.model("m").aliases == {"old": 1}
        write(
            "model_version_policy { specific { versions: 1 versions: 2 versions: 9 } } "
            "version_labels { key: 'new' value: 2 } version_labels { key: 'far' value: 8 }"
        )
        await w.round()
        assert w.watched.held("m") == {1, 2}
        model = w.registry.model("m")
        assert (model.default_version, model.aliases) == (2, {"new": 2})
        assert "no folder for its version 8" in w.reason("label far")
        assert "not there" in w.reason("9")
        file.write_text("model_config_list { config {")
        said()
        await w.round()
        await w.round()
        [line] = said()
        assert "line 1" in line
        assert w.registry.model("m").aliases == {"new": 2}
        file.write_text(CONFIG.format(tmp_path / "elsewhere", "", "").replace("'m'", "'other'"))
        await w.round()
        assert w.registry.snapshot() == ()


async def test_where_the_default_fails_the_version_before_stands_in(world: Make) -> None:
    async with world() as w:
        for number in "12":
            w.put(number)
            await w.round()
        [model] = w.watched.wanted(w.registry.snapshot())
        assert model.previous_version is None
        before = w.deployments.changes
        await w.round()
        assert w.deployments.changes == before
        w.failed.add(ServableId("m", 2))
        await w.round()
        assert w.deployments.changes == before + 1
        [model] = w.watched.wanted(w.registry.snapshot())
        assert model.previous_version == 1


async def test_a_full_disk_is_waited_for(
    world: Make, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]
) -> None:
    async with world() as w:
        w.put("1")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdopen", _full)
            await w.round()
            await w.round()
        assert [line for line in said() if "disk" in line and "waits" in line] != []
        assert len(w.jobs.operations._reporters) == 0
        w.now_s += 100
        await w.round()
        assert w.versions() == [1]
        assert list((w.home / "staging").iterdir()) == []


def _full(*_: object) -> Any:
    raise OSError(28, "No space left on device")


async def test_code_is_trusted_only_where_the_server_was_told_so(world: Make) -> None:
    async with world() as w:
        w.put("1")
        await w.round()
        assert w.pipeline.options.trust is False
    async with world(base_path=str(w.models), model_name="n", trust=True) as w:
        await w.round()
        assert w.pipeline.options.trust is True


async def run_for(watcher: Watcher, until: Callable[[], Awaitable[object]]) -> None:
    task = asyncio.create_task(watcher.run())
    try:
        await asyncio.wait_for(until(), 20)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_first_round_ends_when_everything_that_was_there_serves(world: Make) -> None:
    async with world(base_path="/nowhere-at-all", model_name="m", poll_s=0.05) as w:
        w.watched.importing = True
        await run_for(w.watcher, w.watcher.ready.wait)
        assert not w.watched.importing
    async with world() as w:
        w.put("1")
        w.rest()
        await run_for(w.watcher, w.watcher.ready.wait)
        assert w.deployments.serving("m") == 1


async def test_looking_once(world: Make, tmp_path: Path) -> None:
    async with world(base_path=str(tmp_path / "models"), model_name="m", poll_s=0) as w:
        w.put("1")
        w.rest()
        await asyncio.wait_for(w.watcher.run(), 20)
        assert w.versions() == [1]
