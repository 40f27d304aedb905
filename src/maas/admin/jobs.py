"""Publish jobs: upload received ─▶ publish, in a thread ─▶ load ─▶ aliases ─▶ done.

A job ends well only when its version answers calls. A version that is stored and does not load
fails its job with the reason; what served before serves on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from maas.admin.deployments import Deployments
from maas.admin.idempotency import IdempotencyKeys
from maas.admin.live import live_version
from maas.admin.operations import Operations, Reporter
from maas.admin.uploads import Received
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.messages import Principal
from maas.core.records import PublishOptions, VersionRecord
from maas.registry import Registry

logger = logging.getLogger("maas.admin")

LOAD_FRACTION = 0.9
"""Where a job's bar stands when its version is stored; loading is the rest."""

Emit = Callable[[str, str, float], None]
"""Reports a step: stage, message, fraction of the whole publish (0 to 1). Any thread."""


class PublishFn(Protocol):
    """The publish pipeline, as the composition root binds it: synchronous, in any thread.

    It returns the version and whether it is new. The folder with the upload is removed after it.
    """

    def __call__(
        self,
        name: str,
        received: Received,
        staged: Path,
        options: PublishOptions,
        created_by: str,
        emit: Emit,
        /,
    ) -> tuple[VersionRecord, bool]:
        """Publishes what was received.

        Args:
            name: the model.
            received: the upload.
            staged: one of `Registry.stage`, which holds the upload in a folder of its own and
                is otherwise empty.
            options: what the publisher says.
            created_by: name of the publisher's key.
            emit: told of each step.

        Raises:
            MaasError: why it cannot be published.
        """
        ...


class PublishRequest(Struct, frozen=True):
    """What one job is about.

    Args:
        name: the model.
        options: what the publisher says.
        principal: who publishes.
        request_id: of the HTTP request, for the log and the error.
    """

    name: str
    options: PublishOptions
    principal: Principal
    request_id: str


class Jobs:
    """Runs publish jobs, so many at once; the rest wait their turn.

    Args:
        publish: the pipeline.
        registry: the catalogue.
        deployments: what is loaded.
        concurrent: jobs that run at once.
        load_s: how long a stored version may take to be loaded.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        publish: PublishFn,
        registry: Registry,
        deployments: Deployments,
        *,
        concurrent: int,
        load_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.operations = Operations()
        self.idempotency = IdempotencyKeys(clock)
        self._publish = publish
        self._registry = registry
        self._deployments = deployments
        self._load_s = load_s
        self._pool = ThreadPoolExecutor(concurrent, thread_name_prefix="publish")
        self._tasks: set[asyncio.Task[None]] = set()

    def start(
        self, reporter: Reporter, request: PublishRequest, received: Received, staged: Path
    ) -> None:
        """Starts a job that was begun in `operations`; `staged` is its own from now on."""
        task = asyncio.create_task(self._run(reporter, request, received, staged))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drops the jobs that wait, and stops following those that run.

        A pipeline in a thread cannot be interrupted: it commits or fails by itself, and what it
        leaves behind is swept at the next start.
        """
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(
        self, reporter: Reporter, request: PublishRequest, received: Received, staged: Path
    ) -> None:
        record: VersionRecord | None = None
        created = False
        try:
            record, created = await self._store(reporter, request, received, staged)
            await self._load(reporter, request, record, created)
            # Aliases and description may have changed since; the answer shows what is.
            record = await asyncio.to_thread(self._registry.version, record.name, record.version)
            reporter.succeed(live_version(record, self._deployments), created, _done(record))
        except asyncio.CancelledError:
            stopped = MaasError(ErrorKind.CANCELLED, "the server is stopping; publish again")
            reporter.fail(stopped, request.request_id, record, created)
            raise
        except MaasError as error:
            reporter.fail(error, request.request_id, record, created)
        except Exception:
            logger.exception(
                "publishing %s failed", request.name, extra={"request_id": request.request_id}
            )
            unexpected = MaasError(
                ErrorKind.INTERNAL,
                "publishing failed inside the server; its log has the details under this "
                "request id",
            )
            reporter.fail(unexpected, request.request_id, record, created)

    async def _store(
        self, reporter: Reporter, request: PublishRequest, received: Received, staged: Path
    ) -> tuple[VersionRecord, bool]:
        # Aliases move once the version is loaded, so the pipeline does not hear of them.
        options = msgspec.structs.replace(request.options, alias=())

        def emit(stage: str, message: str, fraction: float) -> None:
            reporter.emit(stage, message, fraction * LOAD_FRACTION)

        def work() -> tuple[VersionRecord, bool]:
            try:
                return self._publish(
                    request.name, received, staged, options, request.principal.name, emit
                )
            finally:
                self._registry.discard(staged)

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _load(
        self, reporter: Reporter, request: PublishRequest, record: VersionRecord, created: bool
    ) -> None:
        servable = ServableId(record.name, record.version)
        reporter.step("load", f"loading {servable}", LOAD_FRACTION)
        self._deployments.registry_changed()
        try:
            await self._deployments.settled(servable, self._load_s)
            for alias in request.options.alias:
                await asyncio.to_thread(
                    self._registry.set_alias, record.name, alias, record.version
                )
            self._deployments.registry_changed()
            await self._deployments.applied(self._load_s)
            model = await asyncio.to_thread(self._registry.model, record.name)
            if model.default_version == record.version:
                await self._deployments.switched(record.name, record.version, self._load_s)
        except MaasError as error:
            raise MaasError(
                error.kind, f"{servable} is stored but does not serve: {self._tail(record, error)}"
            ) from error

    def _tail(self, record: VersionRecord, error: MaasError) -> str:
        serving = self._deployments.serving(record.name)
        reason = error.message.rstrip(".")
        if serving is None:
            return f"{reason}; no version of {record.name} serves now"
        return f"{reason}; {record.name}:{serving} still answers its calls"


def _done(record: VersionRecord) -> str:
    names = [f"{record.name}:{record.version}", *(f"@{alias}" for alias in record.aliases)]
    return f"{', '.join(names)} answers calls"
