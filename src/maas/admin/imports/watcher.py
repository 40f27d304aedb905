"""The watcher: polls the folder, and follows each model that it finds in a task of its own.

A model that takes minutes to import holds up no other. The first round is over when every model
that was there at the start serves, or is refused, or waits for its copy to end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from maas.admin.deployments import Deployments
from maas.admin.imports.actions import Actions, Limits
from maas.admin.imports.discovery import said, scanner
from maas.admin.imports.following import Following
from maas.admin.imports.ledger import Ledger, ModelLedger
from maas.admin.imports.sources import Scan, Source
from maas.admin.imports.watched import Watched
from maas.admin.jobs import Jobs
from maas.core.errors import ErrorKind, MaasError
from maas.core.records import ImportRecord
from maas.registry import Registry
from maas.settings import ImportSettings, Settings

log = logging.getLogger("maas.imports")

ONCE_S = 1.0
"""Where a folder is looked at only once: how often, until what is being copied is complete."""

UNLOAD_S = 60.0
"""How long a version that is retired may take to answer its last calls."""
WHOLE = "the folder of models"
"""What is shown for what is wrong with all of it."""


def origin_of(settings: ImportSettings) -> str:
    """What is watched, as the ledger tells it from others; empty where nothing is."""
    if settings.repository:
        return f"repository:{settings.repository}"
    if settings.config_file:
        return f"config:{settings.config_file}"
    if settings.base_path:
        return f"folder:{settings.base_path}:{settings.model_name}"
    return ""


def make_watcher(
    settings: Settings,
    registry: Registry,
    deployments: Deployments,
    jobs: Jobs,
    watched: Watched,
) -> Watcher | None:
    """Puts a watcher together; None where the settings name nothing to watch."""
    imports = settings.imports
    origin = origin_of(imports)
    if not origin:
        return None
    limits = Limits(
        upload_bytes=settings.limits.upload_bytes,
        load_s=settings.serving.load_s,
        unload_s=UNLOAD_S,
        settle_s=imports.poll_s or ONCE_S,
        concurrent=settings.publish.concurrent,
        trust=imports.trust,
    )
    return Watcher(
        scanner(imports),
        registry,
        Ledger(Path(settings.paths.home), origin),
        imports.poll_s,
        lambda save: Actions(registry, deployments, jobs, watched, limits, save),
    )


class Watcher:
    """Follows every model of one origin. Lives on control's loop.

    Args:
        scan: finds the models; called in a thread.
        registry: the catalogue.
        ledger: what came of their folders before.
        poll_s: seconds between two looks; 0 to look only once.
        make_actions: makes what can be done, given what writes the ledger.

    `ready` is set when the first round is over.
    """

    def __init__(
        self,
        scan: Callable[[], Scan],
        registry: Registry,
        ledger: Ledger,
        poll_s: float,
        make_actions: Callable[[Callable[[], None]], Actions],
    ):
        self.ready = asyncio.Event()
        self._scan = scan
        self._registry = registry
        self._ledger = ledger
        self._poll_s = poll_s
        self._actions = make_actions(self._save)
        self._models: dict[str, Following] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._problems: dict[str, str] = {}
        self._runner: asyncio.Task[None] | None = None
        # The manager looks before any folder has been: what served is not loaded beside its past.
        for name, before in ledger.models().items():
            if before.promoted is not None:
                self._actions.watched.hold(name, frozenset({before.promoted}))

    def start(self) -> None:
        """Begins to poll."""
        self._runner = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Polls until it is cancelled; once only, where that is wanted."""
        recalled = False
        while True:
            try:
                if not recalled:
                    self._recall(await asyncio.to_thread(self._remembered))
                    recalled = True
                await self._round()
            except MaasError as error:
                log.warning("the watched folder was not looked at: %s", error.message)
            except Exception:
                log.exception("looking at the watched folder failed; it is tried again")
            if not self.ready.is_set():
                await asyncio.gather(*self._tasks.values())
                self._actions.first_round_is_over()
                self.ready.set()
            waiting = self._tasks or any(model.waiting for model in self._models.values())
            if recalled and not self._poll_s and not waiting:
                return
            await asyncio.sleep(self._poll_s or ONCE_S)

    async def close(self) -> None:
        """Stops polling and following; jobs under way end with the server."""
        self._actions.stop()
        tasks = [task for task in (self._runner, *self._tasks.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def records(self) -> tuple[ImportRecord, ...]:
        """What was found, and what came of it."""
        records = [
            ImportRecord("", folder, None, "refused", reason)
            for folder, reason in sorted(self._problems.items())
        ]
        for _, model in sorted(self._models.items()):
            records += model.records()
        return tuple(records)

    async def _round(self) -> None:
        """Looks for models, and has each followed that is not being followed already."""
        try:
            scan = await asyncio.to_thread(self._scan)
        except (MaasError, OSError) as error:
            kept = "; what serves stays as it is" if self._models else ""
            known = tuple(model.source for model in self._models.values() if model.source.folder)
            scan = Scan(known, {WHOLE: f"{said(error)}{kept}"}, complete=False)
        self._mind(scan.problems)
        sources = {source.name: source for source in scan.sources}
        for name, source in sources.items():
            if name not in self._models:
                self._models[name] = Following(self._actions, source, ModelLedger())
            elif name not in self._tasks:
                self._models[name].source = source
        for name in list(self._models):
            if name in sources:
                self._start(name, self._models[name].follow)
            elif scan.complete:
                self._start(name, partial(self._leave, name))
        self._actions.refresh()

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        if name in self._tasks:
            return

        async def run() -> None:
            try:
                await work()
            except MaasError as error:
                self._actions.warn(name, f"{name} was not looked at: {error.message}")
            except Exception:
                log.exception("following %s failed; it is tried again", name)

        task = self._tasks[name] = asyncio.create_task(run())
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _leave(self, name: str) -> None:
        if await self._models[name].leave():
            del self._models[name]
            self._save()

    def _mind(self, problems: dict[str, str]) -> None:
        """Logs what is new among the problems."""
        for folder, reason in problems.items():
            if self._problems.get(folder) != reason:
                self._actions.warn(folder, f"{folder}: {reason}")
        self._problems = dict(problems)

    def _save(self) -> None:
        try:
            self._ledger.write({name: model.ledger() for name, model in self._models.items()})
        except OSError as error:
            # A restart reads the folders once more; what serves does not depend on it.
            log.warning("what was imported could not be written down: %s", error.strerror)

    def _recall(self, models: dict[str, ModelLedger]) -> None:
        for name, before in models.items():
            self._models[name] = Following(self._actions, Source(name, ""), before)

    def _remembered(self) -> dict[str, ModelLedger]:
        """What the ledger says that the catalogue agrees with; in a thread."""
        return {name: self._checked(name, before) for name, before in self._ledger.models().items()}

    def _checked(self, name: str, before: ModelLedger) -> ModelLedger:
        try:
            record = self._registry.model(name)
        except MaasError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return ModelLedger()
        there = {version.version for version in record.versions}
        versions = {
            # What did not load is tried once more.
            number: known if known.serves else msgspec.structs.replace(known, stamp="")
            for number, known in before.versions.items()
            if number in there
        }
        return ModelLedger(
            versions,
            None if record.default_version is None else before.promoted,
            {label: n for label, n in before.labels.items() if record.aliases.get(label) == n},
        )
