"""What the manager knows of each version and each host."""

from __future__ import annotations

from dataclasses import dataclass, field

from maas.core.identity import ServableId
from maas.core.records import VersionRecord
from maas.core.states import ServableState
from maas.serving.plan import HostPlan, VersionPlan


@dataclass(slots=True)
class VersionEntry:
    """One version on its way.

    Args:
        record: what the registry says of it.
        path: its artifact's folder.
        entry: the file within.
        format: the runtime's format.
        state: where it is.
        reason: why it is not AVAILABLE.
        failed: its last load failed.
        host: the host that holds it; empty where none does.
        since: plan number of its newest state, which ingresses must acknowledge.
        started: monotonic seconds at which its load began.
        recovering: it was AVAILABLE and its host is being started again.
        losses: crashes of the shared host with calls of this version in flight.
        lost_with: incarnation of the shared host at the last of them.
        load_crashes: crashes of its host while it was loading.
        alone: it gets a host of its own, whatever its runtime says.
        memory_bytes: what loading it took.
        attempt: how often it has been given to a host.
    """

    record: VersionRecord
    path: str
    entry: str
    format: str
    state: ServableState = ServableState.START
    reason: str = ""
    failed: bool = False
    host: str = ""
    since: int = 0
    started: float = 0.0
    recovering: bool = False
    losses: int = 0
    lost_with: int = 0
    load_crashes: int = 0
    alone: bool = False
    memory_bytes: int = 0
    attempt: int = 0

    @property
    def id(self) -> ServableId:
        """The version's identity."""
        return ServableId(self.record.name, self.record.version)

    @property
    def dedicated(self) -> bool:
        """Whether it is to have a host of its own."""
        return self.alone or self.record.report.host == "dedicated"

    def plan(self) -> VersionPlan:
        """As the plan has it."""
        return VersionPlan(
            self.state,
            self.reason,
            self.host,
            self.record.report.engine,
            self.record.report.platform,
            self.path,
            self.entry,
            self.format,
            self.record.signatures,
            self.attempt,
            self.record.report.generative,
        )


@dataclass(slots=True)
class HostEntry:
    """One host process.

    Args:
        id: `host-1` is the shared one.
        socket: where it takes frames.
        dedicated: it holds one version.
        incarnation: how often it has been started.
        holds: versions it must hold.
        crashes: times (monotonic seconds) of its last crashes.
        restart_at: when it is to be started again; None while it runs.
        ready_at: when a version was last ready here, in this incarnation; None until then.
        empty_since: when it was left with nothing to hold; None while it holds something.
        last_exit: how it ended last.
        last_words: what it said of that itself, in this incarnation.
        running: it has been asked for and has not ended.
    """

    id: str
    socket: str
    dedicated: bool
    incarnation: int = 1
    holds: set[ServableId] = field(default_factory=set)
    crashes: list[float] = field(default_factory=list)
    restart_at: float | None = None
    ready_at: float | None = None
    empty_since: float | None = None
    last_exit: str = ""
    last_words: str = ""
    running: bool = False

    def plan(self) -> HostPlan:
        """As the plan has it."""
        holds = tuple((one.name, one.version) for one in sorted(self.holds))
        return HostPlan(self.socket, self.incarnation, self.dedicated, holds)


@dataclass(slots=True)
class Peer:
    """One process on the control socket: what it has acknowledged, how often it has said Stats."""

    kind: str
    id: str
    pid: int
    number: int = -1
    keys: int = -1
    counted: int = 0
