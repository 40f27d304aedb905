"""The roster: what is loaded where, and the steps by which that changes.

The manager decides; the roster carries a decision out on its own books, keeps each version and its
host in step, and notes that the plan is behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from maas.core.identity import ServableId
from maas.core.states import ServableState
from maas.serving.recovery import restart_delay, too_many_load_crashes
from maas.serving.versions import HostEntry, VersionEntry

log = logging.getLogger("maas.manager")

SERVED_S = 1.0
"""A host that has served so long was well: it is started again without a wait."""
SHARED = "host-1"
"""The host of every version that needs none of its own."""


class Roster:
    """Versions and hosts, by id.

    Args:
        run: the run folder, for the hosts' sockets.
        clock: monotonic seconds.
        changed: called whenever the plan has fallen behind.
        listed: whether the registry still has a version.
    """

    def __init__(
        self,
        run: Path,
        clock: Callable[[], float],
        changed: Callable[[], None],
        listed: Callable[[ServableId], bool],
    ):
        self._run = run
        self._clock = clock
        self._changed = changed
        self._listed = listed
        self._numbered = 1
        self.versions: dict[ServableId, VersionEntry] = {}
        self.hosts: dict[str, HostEntry] = {}
        self.number = 0
        """Of the newest plan written."""
        self.dirty = True
        """Whether something has changed that no plan says yet."""

    def load(self, entry: VersionEntry) -> None:
        """Gives a version a host and lets it be loaded there."""
        host = self._host_for(entry)
        host.holds.add(entry.id)
        entry.host = host.id
        entry.attempt += 1
        self.set(entry, ServableState.LOADING)

    def move(self, entry: VersionEntry) -> None:
        """Moves a version from the shared host to one of its own; its calls wait meanwhile."""
        self.hosts[SHARED].holds.discard(entry.id)
        entry.recovering = entry.recovering or entry.state is ServableState.AVAILABLE
        self.load(entry)

    def _host_for(self, entry: VersionEntry) -> HostEntry:
        if not entry.dedicated and SHARED in self.hosts:
            return self.hosts[SHARED]
        if entry.dedicated:
            self._numbered += 1
            host_id = f"host-{self._numbered}"
        else:
            host_id = SHARED
        socket = str(self._run / f"{host_id}.sock")
        host = self.hosts[host_id] = HostEntry(host_id, socket, entry.dedicated)
        host.restart_at = self._clock()
        return host

    def empty(self, host: HostEntry, limit_s: float) -> bool:
        """Whether a host that is to hold nothing has said so, or has had its time."""
        now = self._clock()
        if host.empty_since is None:
            host.empty_since = now
        held = any(entry.host == host.id for entry in self.versions.values())
        return not held or now - host.empty_since > limit_s

    def give_up(self, entry: VersionEntry, reason: str) -> None:
        """Notes that a version could not be loaded, and why."""
        log.warning("%s is not loaded: %s", entry.id, reason)
        entry.failed = True
        entry.recovering = False
        host = self.hosts.get(entry.host)
        if host is not None:
            host.holds.discard(entry.id)
        entry.host = ""
        self.set(entry, ServableState.END, reason)
        self._forget(entry)

    def recover(self, host: HostEntry, held: Sequence[VersionEntry], reason: str) -> None:
        """Has a host started again, and its versions loaded there, but for one that kills it."""
        now = self._clock()
        if host.ready_at is not None and now - host.ready_at >= SERVED_S:
            host.crashes = []  # it was well; what killed it has nothing to do with starting it
        host.ready_at = None
        host.crashes = [*host.crashes[-9:], now]
        host.restart_at = now + restart_delay(host.crashes, now)
        host.incarnation += 1
        host.last_words = ""
        # A host loads in this order, one after the other, and says when each is ready.
        loading = next((one for one in held if one.state is ServableState.LOADING), None)
        for entry in held:
            if entry.state is ServableState.UNLOADING:
                self.ended(entry)
                continue
            if entry is loading:
                entry.load_crashes += 1
                if too_many_load_crashes(entry.load_crashes, host.dedicated):
                    if host.dedicated:
                        self.give_up(entry, f"its process ended while loading it ({reason})")
                        continue
                    entry.alone = True
            entry.recovering = entry.recovering or entry.state is ServableState.AVAILABLE
            self.set(entry, ServableState.LOADING, f"its process ended ({reason})")

    def explain(self, host_id: str, incarnation: int, reason: str) -> None:
        """Notes a host's own words on its end, which come before its exit is seen or after."""
        host = self.hosts.get(host_id)
        if host is None:
            return
        if incarnation == host.incarnation:
            host.last_words = reason
        elif incarnation == host.incarnation - 1:
            host.last_exit = reason
            for entry in self.versions.values():
                if entry.host == host_id and entry.state is ServableState.LOADING:
                    entry.reason = f"its process ended ({reason})"
                    self.touch()

    def ended(self, entry: VersionEntry) -> None:
        """Notes that a version is gone from its host."""
        host = self.hosts.get(entry.host)
        if host is not None:
            host.holds.discard(entry.id)
        entry.host = ""
        entry.recovering = False
        self.set(entry, ServableState.END)
        self._forget(entry)

    def _forget(self, entry: VersionEntry) -> None:
        """Drops a version that has been deleted, now that nothing holds it."""
        if not self._listed(entry.id):
            self.versions.pop(entry.id, None)

    def set(self, entry: VersionEntry, state: ServableState, reason: str = "") -> None:
        """Moves a version to a state, which the next plan says."""
        entry.state = state
        entry.reason = reason
        if state is ServableState.LOADING:
            entry.started = self._clock()
        entry.since = self.number + 1
        self.touch()

    def touch(self) -> None:
        """Notes that the plan is behind."""
        self.dirty = True
        self._changed()
