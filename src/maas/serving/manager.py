"""The manager: makes what is loaded follow the registry, and tells everybody through the plan.

```
registry ─ snapshot ─▶ reconcile ─▶ plan (file) ─ Changed ─▶ ingresses, hosts
                          ▲                                        │
                          └──── Ready · Failed · Ack · exits ──────┘
```

It runs on control's event loop and decides nothing itself: `policy` and `crashes` do. Traffic moves
to a version only when it is Ready and every ingress has acknowledged the plan that names it; a
version leaves its host only when every ingress has acknowledged the plan that no longer routes
to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from maas.core.identity import ServableId
from maas.core.records import ModelRecord
from maas.core.states import ServableState
from maas.serving.fleet import Fleet, HostSpec
from maas.serving.messages import Changed, Ending, Failed, Lost, Overdue, Ready, Unloaded, Want
from maas.serving.plan import write_plan
from maas.serving.planning import Catalogue, build_plan, snapshots
from maas.serving.policy import (
    Load,
    aspired_versions,
    next_action,
    serving_version,
)
from maas.serving.roster import SHARED, Roster
from maas.serving.versions import VersionEntry
from maas.settings import ServingSettings

log = logging.getLogger("maas.manager")

TICK_S = 0.5
WANTED = 4
"""Versions of one model that stay loaded only because callers have asked for them by number."""
UNLOAD_S = 30.0
"""How much longer than for its last answers a dedicated host may take before it is stopped."""
LOSSES = 2
"""Crashes of the shared host with a version's calls in flight before it gets a host of its own."""


class Manager:
    """Holds what is loaded where.

    Args:
        catalogue: the registry's side.
        settings: time limits.
        run: the run folder, for the plan and the sockets.
        epoch: this life of control.
        broadcast: sends Changed to every process.
        acknowledged: the lowest plan number that all ingresses hold; None where there are none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        settings: ServingSettings,
        run: Path,
        epoch: str,
        broadcast: Callable[[Changed], None],
        acknowledged: Callable[[], int | None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._catalogue = catalogue
        self._settings = settings
        self._run = run
        self._epoch = epoch
        self._broadcast = broadcast
        self._acknowledged = acknowledged
        self._clock = clock
        self._fleet: Fleet | None = None
        self.models: dict[str, ModelRecord] = {}
        self._wake = asyncio.Event()
        self._roster = Roster(run, clock, self._wake.set, self._listed)
        self.versions = self._roster.versions
        self.hosts = self._roster.hosts
        self.serving: dict[str, int] = {}
        self._wanted: dict[str, list[int]] = {}
        self._stale = True
        self.progress = asyncio.Event()
        self.keys = 0
        self.looks = 0

    # What happens to it

    def registry_changed(self) -> None:
        """The registry has changed: look again. Call on the event loop."""
        self._stale = True
        self._wake.set()

    def keys_changed(self) -> int:
        """A new keyring has been written: tell everybody.

        Returns:
            Its number, to wait for.
        """
        self.keys += 1
        self._broadcast(self.changed())
        return self.keys

    @property
    def number(self) -> int:
        """Of the newest plan written."""
        return self._roster.number

    @property
    def settled(self) -> bool:
        """Whether the registry has been read and every version is where it should be."""
        return (
            self.looks > 0
            and not self._roster.dirty
            and not any(
                entry.state in (ServableState.START, ServableState.LOADING)
                or (entry.state is ServableState.AVAILABLE and not self._routed(entry))
                for entry in self.versions.values()
            )
        )

    def _routed(self, entry: VersionEntry) -> bool:
        """Whether calls reach the version, if it is the one that unversioned calls should reach."""
        model = self.models.get(entry.record.name)
        wanted = None if model is None else model.default_version
        return wanted != entry.record.version or self.serving.get(entry.record.name) == wanted

    @property
    def pending(self) -> bool:
        """Whether something has changed that no plan says yet."""
        return self._roster.dirty

    def changed(self) -> Changed:
        """What a process should hold now."""
        return Changed(self._epoch, self.number, self.keys)

    def acked(self) -> None:
        """Some process has acknowledged a plan."""
        self._wake.set()

    def on_ready(self, host_id: str, message: Ready) -> None:
        """A host has loaded a version."""
        entry = self.versions.get(ServableId(message.name, message.version))
        if entry is None or entry.host != host_id or entry.state is not ServableState.LOADING:
            return
        entry.memory_bytes = message.memory_bytes
        entry.load_crashes = 0
        self.hosts[host_id].ready_at = self._clock()
        entry.recovering = False
        self._roster.set(entry, ServableState.AVAILABLE)

    def on_failed(self, host_id: str, message: Failed) -> None:
        """A host could not load a version."""
        entry = self.versions.get(ServableId(message.name, message.version))
        if entry is not None and entry.host == host_id:
            self._roster.give_up(entry, message.reason)

    def on_unloaded(self, host_id: str, message: Unloaded) -> None:
        """A version is gone from its host."""
        entry = self.versions.get(ServableId(message.name, message.version))
        if entry is not None and entry.host == host_id and entry.state is ServableState.UNLOADING:
            self._roster.ended(entry)

    def on_want(self, message: Want) -> None:
        """A caller asks for a version that is not loaded."""
        wanted = self._wanted.setdefault(message.name, [])
        if message.version not in wanted:
            self._wanted[message.name] = [*wanted, message.version][-WANTED:]
        self._wake.set()

    def on_lost(self, message: Lost) -> None:
        """A host's connection broke with calls in flight; several ingresses may say so of one."""
        host = self.hosts.get(message.host)
        if host is None or host.dedicated:
            return
        for name, version in message.in_flight:
            entry = self.versions.get(ServableId(name, version))
            if entry is None or entry.lost_with >= message.incarnation:
                continue
            entry.lost_with = message.incarnation
            entry.losses += 1
            if entry.losses >= LOSSES and not entry.alone:
                log.warning("%s was in flight at two crashes; it gets its own host", entry.id)
                entry.alone = True
        self._wake.set()

    async def on_overdue(self, message: Overdue) -> None:
        """A host has not answered a call long past its deadline: a dedicated one is killed."""
        host = self.hosts.get(message.host)
        if host is not None and host.dedicated and host.incarnation == message.incarnation:
            log.warning("%s hangs on %s:%d", host.id, message.name, message.version)
            assert self._fleet is not None
            await self._fleet.kill(host.id)

    def on_ending(self, host_id: str, message: Ending) -> None:
        """A host says why it ends; its exit may have been seen already."""
        self._roster.explain(host_id, message.incarnation, message.reason)

    def on_exit(self, host_id: str, reason: str, asked: bool) -> None:
        """A host process has ended; `reason` says how, as people read it."""
        host = self.hosts.get(host_id)
        if host is None:
            return
        host.running = False
        reason = host.last_exit = host.last_words or reason
        held = sorted(
            (entry for entry in self.versions.values() if entry.host == host_id),
            key=lambda entry: entry.id,
        )
        if asked:
            for entry in held:
                self._roster.ended(entry)
        else:
            log.warning("%s ended (%s)", host_id, reason)
            self._roster.recover(host, held, reason)
        if not host.holds and (asked or host.dedicated):
            del self.hosts[host_id]
        self._roster.touch()

    # What it does

    async def run(self, fleet: Fleet) -> None:
        """Reconciles for ever, whenever something happened and at least twice a second."""
        self._fleet = fleet
        while True:
            self._wake.clear()
            try:
                await self.reconcile(fleet)
            except Exception:
                log.exception("the manager failed; it looks again")
                self._stale = True
            try:
                await asyncio.wait_for(self._wake.wait(), TICK_S)
            except TimeoutError:
                continue

    async def reconcile(self, fleet: Fleet) -> None:
        """One pass: registry → actions → plan → processes. Idempotent."""
        if self._stale:
            await self._look()
        self._decide()
        self._finish_unloads()
        await self._expire_loads(fleet)
        if self._roster.dirty:
            self._publish_plan()
        await self._drive(fleet)
        self.progress.set()
        self.progress = asyncio.Event()

    async def _look(self) -> None:
        self._stale = False
        models = await asyncio.to_thread(self._catalogue.snapshot)
        records = {
            ServableId(version.name, version.version): version
            for model in models
            for version in model.versions
        }
        for servable, record in records.items():
            entry = self.versions.get(servable)
            if entry is not None and entry.record.digest == record.digest:
                entry.record = record
            elif entry is None:
                artifact = self._catalogue.artifact(servable.name, servable.version)
                self.versions[servable] = VersionEntry(
                    record, artifact.path, artifact.entry, artifact.format, ServableState.END
                )
        self.models = {model.name: model for model in models}
        for servable in [one for one in self.versions if one not in records]:
            if self.versions[servable].state is ServableState.END:
                del self.versions[servable]
        self.looks += 1
        self._roster.touch()

    def _decide(self) -> None:
        by_name: dict[str, list[VersionEntry]] = {}
        for entry in self.versions.values():
            by_name.setdefault(entry.record.name, []).append(entry)
        for name in [name for name in self.serving if name not in by_name]:
            del self.serving[name]
        for name, entries in by_name.items():
            model = self.models.get(name)
            self._route(name, model, entries)
            wanted = self._catalogue.held(name).union(self._wanted.get(name, ()))
            aspired = frozenset() if model is None else aspired_versions(model, wanted)
            for _ in range(2 * len(entries)):
                action = next_action(snapshots(entries, aspired, self.serving.get(name)))
                if action is None:
                    break
                entry = self.versions[ServableId(name, action.version)]
                if isinstance(action, Load):
                    self._roster.load(entry)
                else:
                    self._roster.set(entry, ServableState.UNLOADING)
            for entry in entries:
                if entry.alone and entry.host == SHARED:
                    self._roster.move(entry)

    def _route(self, name: str, model: ModelRecord | None, entries: list[VersionEntry]) -> None:
        acknowledged = self._acknowledged()
        available = {
            entry.record.version
            for entry in entries
            if entry.recovering
            or (
                entry.state is ServableState.AVAILABLE
                # What serves is known to every ingress already, also after its host came back.
                and (
                    entry.record.version == self.serving.get(name)
                    or acknowledged is None
                    or entry.since <= acknowledged
                )
            )
        }
        failed = {entry.record.version for entry in entries if entry.failed}
        serving = serving_version(
            None if model is None else model.default_version,
            self.serving.get(name),
            None if model is None else model.previous_version,
            available,
            failed,
        )
        if serving != self.serving.get(name):
            if serving is None:
                log.info("no version of %s serves any more", name)
                del self.serving[name]
            else:
                log.info("calls to %s go to version %d", name, serving)
                self.serving[name] = serving
            self._roster.touch()

    def _finish_unloads(self) -> None:
        acknowledged = self._acknowledged()
        for entry in self.versions.values():
            if entry.state is not ServableState.UNLOADING:
                continue
            host = self.hosts.get(entry.host)
            if (
                host is not None
                and entry.id in host.holds
                and (acknowledged is None or entry.since <= acknowledged)
            ):
                host.holds.discard(entry.id)
                if not host.running:
                    self._roster.ended(entry)
                self._roster.touch()

    async def _expire_loads(self, fleet: Fleet) -> None:
        """Gives up what loads for too long, and the host that is stuck in it with it.

        Of several that wait for one host only the first has begun; the others begin anew.
        """
        late = self._clock() - self._settings.load_s
        stuck: dict[str, VersionEntry] = {}
        for _, entry in sorted(self.versions.items()):
            if entry.state is ServableState.LOADING and entry.started < late:
                stuck.setdefault(entry.host, entry)
        for host_id, entry in stuck.items():
            self._roster.give_up(entry, f"it did not load within {self._settings.load_s:g} s")
            for other in self.versions.values():
                if other.host == host_id and other.state is ServableState.LOADING:
                    other.started = self._clock()
            await fleet.kill(host_id)

    def _publish_plan(self) -> None:
        self._roster.dirty = False
        self._roster.number += 1
        plan = build_plan(
            self._epoch, self.number, self.versions, self.hosts, self.models, self.serving,
            importing=self._catalogue.importing(),
        )  # fmt: skip
        write_plan(self._run, plan)
        self._broadcast(self.changed())

    async def _drive(self, fleet: Fleet) -> None:
        now = self._clock()
        for host in list(self.hosts.values()):
            if host.running and not host.holds:
                if host.dedicated and self._roster.empty(host, self._settings.unload_s + UNLOAD_S):
                    await fleet.stop(host.id)
            elif not host.running and host.holds and (host.restart_at or 0) <= now:
                host.running = True
                host.restart_at = None
                await fleet.start(HostSpec(host.id, host.incarnation))

    def _listed(self, servable: ServableId) -> bool:
        model = self.models.get(servable.name)
        return model is not None and any(
            version.version == servable.version for version in model.versions
        )
