"""`Deployments` as the manager of this server has them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from maas.admin.deployments import LiveStatus
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.records import ProcessRecord, ServerInfo
from maas.core.states import ServableState
from maas.serving.controlserver import ControlServer
from maas.serving.manager import Manager
from maas.serving.messages import Want
from maas.serving.planning import why_unloaded
from maas.serving.versions import VersionEntry
from maas.telemetry.logfiles import LogFolder, LogLine

KEYS_S = 1.0
"""How long a key's revocation waits for the ingresses; one that is silent longer is replaced."""


class ManagedDeployments:
    """What is loaded, as the manager knows it. Lives on control's event loop.

    Args:
        manager: who loads.
        server: who knows what the ingresses have acknowledged.
        logs: the processes' logs.
        write_keys: writes the keyring of the keys valid now, under that number.
        processes: lists the processes.
        info: says what runs.
    """

    def __init__(
        self,
        manager: Manager,
        server: ControlServer,
        logs: LogFolder,
        write_keys: Callable[[int], Awaitable[None]],
        processes: Callable[[], tuple[ProcessRecord, ...]],
        info: Callable[[], ServerInfo],
    ):
        self._manager = manager
        self._server = server
        self._logs = logs
        self._write_keys = write_keys
        self._processes = processes
        self._info = info
        self._loop = asyncio.get_running_loop()
        self._keys_lock = asyncio.Lock()

    def serving(self, name: str) -> int | None:
        """The version that unversioned calls of a model reach now, if any."""
        return self._manager.serving.get(name)

    def status(self, servable: ServableId) -> LiveStatus:
        """How a version stands."""
        entry = self._manager.versions.get(servable)
        return LiveStatus() if entry is None else LiveStatus(entry.state, entry.reason, entry.host)

    def registry_changed(self) -> None:
        """Says that the registry has changed. Thread-safe."""
        self._loop.call_soon_threadsafe(self._manager.registry_changed)

    def retry(self, name: str) -> None:
        """Lets the versions of a model that failed to load be tried again."""
        for servable, entry in self._manager.versions.items():
            if servable.name == name and entry.failed:
                entry.failed = False
                entry.load_crashes = 0

    async def settled(self, servable: ServableId, timeout_s: float) -> None:
        """Waits until a version is AVAILABLE and every ingress has acknowledged it.

        Raises:
            MaasError: UNAVAILABLE with the reason, if it fails to load; FAILED_PRECONDITION where
                its model is unloaded; DEADLINE_EXCEEDED.
        """
        self._manager.registry_changed()
        look = self._manager.looks + 1

        def done() -> bool:
            entry = self._manager.versions.get(servable)
            if entry is None or self._manager.looks < look:
                return False
            _raise_if_failed(entry)
            model = self._manager.models.get(servable.name)
            if model is not None and model.unloaded:
                raise MaasError(ErrorKind.FAILED_PRECONDITION, why_unloaded(servable.name))
            if entry.state is ServableState.END:
                # Neither the default nor an alias: it is loaded because it is asked for.
                self._manager.on_want(Want(servable.name, servable.version))
            return entry.state is ServableState.AVAILABLE and self._acknowledged(entry.since)

        await self._until(done, timeout_s, f"{servable} is not loaded yet")

    async def switched(self, name: str, version: int, timeout_s: float) -> None:
        """Waits until unversioned calls reach that version at every ingress.

        Raises:
            MaasError: UNAVAILABLE with the reason, if it fails to load; DEADLINE_EXCEEDED.
        """
        reached = -1

        def done() -> bool:
            nonlocal reached
            entry = self._manager.versions.get(ServableId(name, version))
            if entry is not None:
                _raise_if_failed(entry)
            if self._manager.serving.get(name) != version:
                return False
            if reached < 0:
                reached = self._manager.number + (1 if self._manager.pending else 0)
            return self._acknowledged(reached)

        await self._until(done, timeout_s, f"calls to {name} do not reach version {version} yet")

    async def applied(self, timeout_s: float) -> None:
        """Waits until every ingress has acknowledged the registry as it is at this call.

        Raises:
            MaasError: DEADLINE_EXCEEDED.
        """
        self._manager.registry_changed()
        look = self._manager.looks + 1
        reached = -1

        def done() -> bool:
            nonlocal reached
            if self._manager.looks < look or self._manager.pending:
                return False
            if reached < 0:
                reached = self._manager.number
            return self._acknowledged(reached)

        await self._until(done, timeout_s, "the change has not reached every process yet")

    async def gone(self, servables: Sequence[ServableId], timeout_s: float) -> None:
        """Waits until versions that were deleted are unloaded.

        Raises:
            MaasError: DEADLINE_EXCEEDED.
        """
        self._manager.registry_changed()
        look = self._manager.looks + 1

        def done() -> bool:
            if self._manager.looks < look:
                return False
            return all(
                (entry := self._manager.versions.get(servable)) is None
                or entry.state is ServableState.END
                for servable in servables
            )

        await self._until(done, timeout_s, "calls in flight still use what was deleted")

    async def keys_changed(self) -> None:
        """Makes the registry's keys the valid ones; returns when all have acknowledged them.

        Raises:
            MaasError: UNAVAILABLE where an ingress does not answer within a second.
        """
        async with self._keys_lock:
            number = self._manager.keys + 1
            await self._write_keys(number)
            self._manager.keys_changed()
        until = time.monotonic() + KEYS_S
        while True:
            held = self._server.keys_acknowledged()
            if held is None or held >= number:
                return
            if time.monotonic() >= until:
                raise MaasError(
                    ErrorKind.UNAVAILABLE,
                    "the keys are changed, but not every process has acknowledged it yet",
                )
            await wait_for(self._server.changed, until - time.monotonic())

    def processes(self) -> tuple[ProcessRecord, ...]:
        """The server's processes."""
        return self._processes()

    def logs(self, model: str | None, lines: int) -> Sequence[LogLine]:
        """The last lines of a model's log, or of everything's, oldest first."""
        return self._logs.tail(self._wanted(model), lines)

    def follow_logs(self, model: str | None) -> AsyncIterator[LogLine]:
        """Lines written after this call, as they come."""
        return self._logs.follow(self._wanted(model))

    def info(self) -> ServerInfo:
        """What runs, and how to reach it."""
        return self._info()

    def _wanted(self, model: str | None) -> Callable[[LogLine], bool]:
        if model is None:
            return lambda line: True

        def wanted(line: LogLine) -> bool:
            if line.model:
                # Without a version: publishing it, which may have come to none.
                return line.model.partition(":")[0] == model
            return line.process in self._dedicated_to(model)

        return wanted

    def _dedicated_to(self, model: str) -> Iterable[str]:
        """Hosts that hold this model alone, whose every line is the model's."""
        return [
            host.id
            for host in self._manager.hosts.values()
            if host.dedicated and any(one.name == model for one in host.holds)
        ]

    def _acknowledged(self, number: int) -> bool:
        held = self._server.acknowledged()
        return held is None or held >= number

    async def _until(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        until = time.monotonic() + timeout_s
        while not done():
            left = until - time.monotonic()
            if left <= 0:
                raise MaasError(ErrorKind.DEADLINE_EXCEEDED, f"{what} after {timeout_s:g} s")
            await wait_for(self._manager.progress, min(left, 0.5))


async def wait_for(event: asyncio.Event, timeout_s: float) -> None:
    """Waits for an event, at most so long."""
    try:
        await asyncio.wait_for(event.wait(), max(timeout_s, 0.0))
    except TimeoutError:
        return


def _raise_if_failed(entry: VersionEntry) -> None:
    if entry.failed:
        raise MaasError(ErrorKind.UNAVAILABLE, entry.reason)
