"""A fleet without processes: hosts that load and unload in memory, when they are told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from maas.core.errors import ErrorKind
from maas.core.identity import ServableId
from maas.serving.fleet import HostSpec
from maas.serving.messages import Failed, FromProcess, Ready, Unloaded
from maas.serving.plan import read_plan

Say = Callable[[str, FromProcess], None]
Exited = Callable[[str, str, bool], None]


class FakeHost:
    """One host in memory: which start of it this is, what it has loaded or is loading."""

    def __init__(self, incarnation: int):
        self.incarnation = incarnation
        self.loaded: set[ServableId] = set()
        self.failed: dict[ServableId, int] = {}
        self.loading: ServableId | None = None
        self.stopping = False
        self.killed = False


class FakeFleet:
    """A `Fleet` whose hosts do what real ones do, one step at every call of `work`.

    A host follows the plan file of the run folder: it unloads what the plan no longer names for it
    and loads what it does, one after the other; while a slow load goes on it follows nothing. One
    that was stopped ends without another word, as a process does at SIGTERM.

    Args:
        run: the run folder, where the plan lies.
        say: called with (host id, message), as control is with what a host says.
        exited: called with (host id, how it ended, whether that was asked for).

    `failures` holds versions that do not load, with the reason; `slow` those that go on loading;
    `deadly` those whose load ends their host. `started` and `stopped` note what was asked.
    """

    def __init__(self, run: Path, say: Say, exited: Exited):
        self._run = run
        self._say = say
        self._exited = exited
        self.hosts: dict[str, FakeHost] = {}
        self.failures: dict[ServableId, str] = {}
        self.slow: set[ServableId] = set()
        self.deadly: set[ServableId] = set()
        self.started: list[HostSpec] = []
        self.stopped: list[str] = []

    async def start(self, host: HostSpec) -> None:
        """Starts a host, which has loaded nothing yet."""
        self.started.append(host)
        self.hosts[host.id] = FakeHost(host.incarnation)

    async def stop(self, host_id: str) -> None:
        """Asks a host to end, which it does at the next `work`."""
        self.stopped.append(host_id)
        if host_id in self.hosts:
            self.hosts[host_id].stopping = True

    async def kill(self, host_id: str) -> None:
        """Ends a host that hangs, at the next `work`."""
        if host_id in self.hosts:
            self.hosts[host_id].killed = True

    def crash(self, host_id: str, reason: str = "killed by SIGSEGV") -> None:
        """Ends a host as nobody asked."""
        del self.hosts[host_id]
        self._exited(host_id, reason, False)

    def work(self) -> bool:
        """Lets every host end or follow the plan once; says whether anything came of it."""
        moved = [self._work(host_id, host) for host_id, host in list(self.hosts.items())]
        return any(moved)

    def _work(self, host_id: str, host: FakeHost) -> bool:
        if host.killed:
            self.crash(host_id, "killed by SIGKILL")
            return True
        if host.stopping:
            del self.hosts[host_id]
            self._exited(host_id, "exit status 0", True)
            return True
        if host.loading in self.slow:
            return False
        host.loading = None
        whole = read_plan(self._run)
        plan = whole.hosts.get(host_id)
        holds = [] if plan is None else [ServableId(*key) for key in plan.holds]
        attempts = {one: whole.models[one.name].versions[one.version].attempt for one in holds}
        unloaded = self._unload(host_id, host, holds)
        for servable in holds:
            if servable in host.loaded or host.failed.get(servable) == attempts[servable]:
                continue
            if servable in self.slow:
                host.loading = servable
                break
            if servable in self.deadly:
                self.crash(host_id)
                return True
            self._load(host_id, host, servable, attempts[servable])
            return True
        return unloaded

    def _load(self, host_id: str, host: FakeHost, servable: ServableId, attempt: int) -> None:
        name, version = servable.name, servable.version
        reason = self.failures.get(servable)
        if reason is None:
            host.failed.pop(servable, None)
            host.loaded.add(servable)
            self._say(host_id, Ready(name, version, 1 << 20, 0.01))
        else:
            host.failed[servable] = attempt
            self._say(host_id, Failed(name, version, ErrorKind.FAILED_PRECONDITION, reason))

    def _unload(self, host_id: str, host: FakeHost, holds: list[ServableId]) -> bool:
        gone = sorted((host.loaded | host.failed.keys()) - set(holds))
        for servable in gone:
            host.loaded.discard(servable)
            host.failed.pop(servable, None)
            self._say(host_id, Unloaded(servable.name, servable.version))
        return bool(gone)
