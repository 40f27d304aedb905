"""A `Deployments` without processes: what is asked for is loaded at once, or fails when told to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from maas.admin.deployments import LiveStatus
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.records import ProcessRecord, ServerInfo
from maas.core.states import ServableState
from maas.telemetry.logfiles import LogLine

INFO = ServerInfo(
    version="0",
    url="http://127.0.0.1:8080",
    front="uvicorn",
    grpc=False,
    auth="open",
    home="home",
    ready=True,
    started_at="2026-01-01T00:00:00Z",
)


class FakeDeployments:
    """In-memory deployments.

    Args:
        on_keys_changed: called when keys change, as control would replace its keyring.

    `failures` holds the versions that do not load, with the reason; `held` those that load when
    their event is set, and `waiting` is set when someone waits for one. `calls` notes what was
    asked, in order.
    """

    def __init__(self, on_keys_changed: Callable[[], None] = lambda: None):
        self.on_keys_changed = on_keys_changed
        self.failures: dict[ServableId, str] = {}
        self.held: dict[ServableId, asyncio.Event] = {}
        self.waiting = asyncio.Event()
        self.available: set[ServableId] = set()
        self.serving_versions: dict[str, int] = {}
        self.stuck = False
        self.changes = 0
        self.calls: list[str] = []
        self.running: tuple[ProcessRecord, ...] = ()
        self.lines: deque[LogLine] = deque(maxlen=10_000)
        self._followers: list[asyncio.Queue[LogLine]] = []

    def serving(self, name: str) -> int | None:
        """The version that was switched to last."""
        return self.serving_versions.get(name)

    def status(self, servable: ServableId) -> LiveStatus:
        """AVAILABLE, or END with the failure's reason."""
        if servable in self.available:
            return LiveStatus(ServableState.AVAILABLE, process="host-1")
        return LiveStatus(ServableState.END, self.failures.get(servable, ""))

    def registry_changed(self) -> None:
        """Counts."""
        self.changes += 1

    def retry(self, name: str) -> None:
        """Forgets failures."""
        self.calls.append(f"retry {name}")
        self.failures = {one: why for one, why in self.failures.items() if one.name != name}

    async def settled(self, servable: ServableId, timeout_s: float) -> None:
        """Loads a version.

        Raises:
            MaasError: UNAVAILABLE with the reason in `failures`; DEADLINE_EXCEEDED.
        """
        self.calls.append(f"settled {servable}")
        held = self.held.get(servable)
        if held is not None:
            self.waiting.set()
            try:
                async with asyncio.timeout(timeout_s):
                    await held.wait()
            except TimeoutError:
                raise MaasError(
                    ErrorKind.DEADLINE_EXCEEDED, f"{servable} took longer than {timeout_s:g} s"
                ) from None
        if servable in self.failures:
            raise MaasError(ErrorKind.UNAVAILABLE, self.failures[servable])
        self.available.add(servable)

    async def switched(self, name: str, version: int, timeout_s: float) -> None:
        """Loads a version and sends unversioned calls to it.

        Raises:
            MaasError: as `settled`.
        """
        await self.settled(ServableId(name, version), timeout_s)
        self.calls.append(f"switched {name}:{version}")
        self.serving_versions[name] = version

    async def applied(self, timeout_s: float) -> None:
        """Notes the call."""
        self.calls.append("applied")

    async def gone(self, servables: Sequence[ServableId], timeout_s: float) -> None:
        """Unloads versions.

        Raises:
            MaasError: DEADLINE_EXCEEDED while `stuck`.
        """
        self.calls.append(f"gone {', '.join(map(str, servables))}")
        if self.stuck:
            raise MaasError(ErrorKind.DEADLINE_EXCEEDED, "calls are still in flight")
        for servable in servables:
            self.available.discard(servable)
            if self.serving_versions.get(servable.name) == servable.version:
                del self.serving_versions[servable.name]

    async def keys_changed(self) -> None:
        """Tells whoever wants to know."""
        self.calls.append("keys_changed")
        self.on_keys_changed()

    def processes(self) -> tuple[ProcessRecord, ...]:
        """What `running` holds."""
        return self.running

    def logs(self, model: str | None, lines: int) -> Sequence[LogLine]:
        """The last of `lines`."""
        found = [line for line in self.lines if _is_about(line, model)]
        return found[-lines:] if lines else []

    async def follow_logs(self, model: str | None) -> AsyncIterator[LogLine]:
        """Lines given to `write` after the first was asked for."""
        queue: asyncio.Queue[LogLine] = asyncio.Queue()
        self._followers.append(queue)
        try:
            while True:
                line = await queue.get()
                if _is_about(line, model):
                    yield line
        finally:
            self._followers.remove(queue)

    def write(self, line: LogLine) -> None:
        """Adds a line to the log."""
        self.lines.append(line)
        for queue in self._followers:
            queue.put_nowait(line)

    def info(self) -> ServerInfo:
        """A fixed answer."""
        return INFO


def _is_about(line: LogLine, model: str | None) -> bool:
    return model is None or line.model.partition(":")[0] == model
