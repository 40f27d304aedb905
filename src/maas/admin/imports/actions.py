"""What is done for a watched model: the same operations that the control API has.

a version's folder ─▶ copy in staging ─▶ publish job ─▶ Known
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from maas.admin import models, rollout
from maas.admin.deployments import Deployments
from maas.admin.imports import discovery
from maas.admin.imports.sources import Source
from maas.admin.imports.steps import Known
from maas.admin.imports.watched import Watched
from maas.admin.jobs import Jobs, PublishRequest
from maas.admin.publishing import UPLOAD
from maas.admin.uploads import Received
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.messages import Principal
from maas.core.records import (
    DeploymentRequest,
    Operation,
    OperationState,
    PublishOptions,
    Role,
)
from maas.registry import Registry
from maas.registry.disk import disk_full

log = logging.getLogger("maas.imports")

PRINCIPAL = Principal("", "import", Role.OPERATOR.value)
"""Who publishes what is imported: whoever wrote the server's command line."""

_LATER = (ErrorKind.UNAVAILABLE, ErrorKind.RESOURCE_EXHAUSTED, ErrorKind.CANCELLED)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LaterError(Exception):
    """It cannot be done now and may be later.

    Args:
        pause: whether not to try again at once.
    """

    def __init__(self, *, pause: bool = False):
        super().__init__()
        self.pause = pause


class Limits(Struct, frozen=True):
    """Bounds of imports.

    Args:
        upload_bytes: most bytes of one version.
        load_s: how long a version may take to be loaded.
        unload_s: how long a deletion waits for calls in flight.
        settle_s: a folder in which nothing has changed for so long is complete.
        concurrent: versions copied and published at once.
        trust: whether folders may carry code.
    """

    upload_bytes: int
    load_s: float
    unload_s: float
    settle_s: float
    concurrent: int
    trust: bool = False


class Actions:
    """What can be done for any watched model. Lives on control's loop.

    Args:
        registry: the catalogue.
        deployments: what is loaded.
        jobs: publish jobs.
        watched: what the manager is told.
        limits: bounds.
        save: writes down what came of the folders.
        clock: monotonic seconds.
        now_ns: wall-clock nanoseconds, as files' times are.
    """

    def __init__(
        self,
        registry: Registry,
        deployments: Deployments,
        jobs: Jobs,
        watched: Watched,
        limits: Limits,
        save: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ):
        self.watched = watched
        self.settle_s = limits.settle_s
        self.save = save
        self.clock = clock
        self.now_ns = now_ns
        self._registry = registry
        self._deployments = deployments
        self._jobs = jobs
        self._limits = limits
        self._stop = threading.Event()
        self._turns = asyncio.Semaphore(limits.concurrent)

    def stop(self) -> None:
        """Ends copies that are under way."""
        self._stop.set()

    def hold(self, name: str, versions: frozenset[int]) -> None:
        """Has these versions of a model loaded."""
        if self.watched.hold(name, versions):
            self._deployments.registry_changed()

    def refresh(self) -> None:
        """Has the manager look again where a default has failed or recovered."""
        if self.watched.outdated():
            self._deployments.registry_changed()

    def first_round_is_over(self) -> None:
        """Lets the server say that it is ready."""
        self.watched.importing = False
        self._deployments.registry_changed()

    def warn(self, model: str, text: str) -> None:
        """Logs what somebody has to see to."""
        log.warning("%s", text, extra={"model": model})

    async def is_unloaded(self, name: str) -> bool:
        """Whether somebody has unloaded the model by hand: then it is left alone."""
        try:
            return (await asyncio.to_thread(self._registry.model, name)).unloaded
        except MaasError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return False

    async def publish(
        self,
        source: Source,
        folders: dict[int, str],
        number: int,
        stamp: str,
        before: Known | None,
    ) -> tuple[Known, bool]:
        """Publishes a version's folder and waits until it is loaded.

        Args:
            source: the model.
            folders: its version folders.
            number: which.
            stamp: how it looks.
            before: what came of it before.

        Returns:
            What came of it, and whether a version was made.

        Raises:
            LaterError: it changes, the disk is full, too much is under way, the server stops.
        """
        servable = f"{source.name}:{number}"
        async with self._turns:
            began = self.clock()
            self._say(servable, f"{servable} found; importing it")
            operation = await self._publish(source, folders, number, stamp)
        took = self.clock() - began
        error, version = operation.error, operation.version
        if operation.state is OperationState.SUCCEEDED and version is not None:
            done = "imported" if operation.created else "recognised"
            about = f"{version.report.format}, served by {version.report.engine}"
            self._say(servable, f"{servable} {done} in {took:.1f} s ({about})")
            return Known(stamp, stored=True, serves=True), operation.created
        reason = "it was not published" if error is None else error.message
        if error is not None and error.kind == ErrorKind.CANCELLED.value:
            raise LaterError
        self.warn(servable, f"{servable} refused: {reason}")
        if version is not None:
            return Known(stamp, stored=True, serves=False, reason=reason), operation.created
        if before is not None and before.stored:
            # The folder has other content now; the version that was made of it stays what it is.
            return Known(stamp, stored=True, serves=before.serves, reason=reason), False
        return Known(stamp, stored=False, serves=False, reason=reason), False

    async def promote(self, name: str, number: int) -> str:
        """Sends unversioned calls to a version; returns why not, or nothing."""
        request = DeploymentRequest({str(number): 100})
        try:
            await rollout.deploy(
                self._registry, self._deployments, name, request, self._limits.load_s
            )
        except MaasError as error:
            self.warn(name, f"calls to {name} do not go to version {number}: {error.message}")
            return error.message
        return ""

    async def set_label(self, name: str, label: str, number: int) -> str:
        """Points an alias at a version; returns why not, or nothing."""
        try:
            await rollout.set_alias(
                self._registry, self._deployments, name, label, number, self._limits.load_s
            )
        except MaasError as error:
            return error.message
        self._say(name, f"{name}@{label} is version {number}")
        return ""

    async def drop_label(self, name: str, label: str) -> None:
        """Removes an alias, if it is there."""
        try:
            await rollout.delete_alias(
                self._registry, self._deployments, name, label, self._limits.load_s
            )
        except MaasError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                self.warn(name, f"{name}@{label} stays: {error.message}")

    async def retire(self, name: str, number: int) -> str:
        """Deletes a version whose folder is gone; returns why it stays, or nothing."""
        try:
            await models.delete_version(
                self._registry, self._deployments, name, number, self._limits.unload_s
            )
        except MaasError as error:
            return "" if error.kind is ErrorKind.NOT_FOUND else error.message
        self._say(name, f"{name}:{number} is retired: its folder is gone")
        return ""

    async def clear(self, name: str) -> None:
        """Deletes a model that has no version left."""
        try:
            if not (await asyncio.to_thread(self._registry.model, name)).versions:
                await models.delete_model(
                    self._registry, self._deployments, name, self._limits.unload_s
                )
        except MaasError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                self.warn(name, f"{name} stays: {error.message}")

    async def _publish(
        self, source: Source, folders: dict[int, str], number: int, stamp: str
    ) -> Operation:
        try:
            reporter = self._jobs.operations.begin(source.name)
        except MaasError:  # too many are under way
            raise LaterError from None
        options = PublishOptions(promote=False, trust=self._limits.trust, version=number)
        request = PublishRequest(source.name, options, PRINCIPAL, reporter.id)
        try:
            reporter.step("copy", f"copying version {number}", 0.0)
            staged = await asyncio.to_thread(self._registry.stage)
            try:
                received = await asyncio.to_thread(
                    self._receive, source, folders, number, stamp, staged / UPLOAD
                )
            except BaseException:
                await asyncio.to_thread(self._registry.discard, staged)
                raise
        except MaasError as error:
            if error.kind in _LATER:
                self._jobs.operations.forget(reporter)
                if error.kind is ErrorKind.RESOURCE_EXHAUSTED:
                    self.warn(source.name, f"{source.name}:{number} waits: {error.message}")
                    raise LaterError(pause=True) from None
                raise LaterError from None
            reporter.fail(error, reporter.id, None, False)
            return reporter.snapshot()
        except BaseException:
            self._jobs.operations.forget(reporter)
            raise
        self._jobs.start(reporter, request, received, staged)
        async for _ in reporter.follow(0, heartbeat_s=60.0):
            pass
        return reporter.snapshot()

    def _receive(
        self, source: Source, folders: dict[int, str], number: int, stamp: str, upload: Path
    ) -> Received:
        """Copies a version's folder as it looked; in a thread.

        Raises:
            MaasError: UNAVAILABLE where it does not look so any more; why it cannot be copied.
        """
        try:
            received = discovery.take(
                source, folders, number, upload, self._limits.upload_bytes, self._stop
            )
            unchanged = discovery.look_at(source, folders, number).stamp == stamp
        except FileNotFoundError:
            unchanged = False
        except OSError as error:
            if error.errno in _FULL:
                raise disk_full() from error
            raise invalid(discovery.said(error)) from error
        if not unchanged:
            raise MaasError(ErrorKind.UNAVAILABLE, "the folder changed while it was copied")
        return received

    def _say(self, model: str, text: str) -> None:
        log.info("%s", text, extra={"model": model, "note": True})
