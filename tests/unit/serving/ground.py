"""A manager on its own ground: records in memory, a fake fleet, a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from maas.core.identity import ServableId
from maas.core.ports import Artifact
from maas.core.records import ModelRecord, VersionRecord
from maas.core.states import ServableState
from maas.serving.manager import Manager
from maas.serving.messages import Changed, Failed, FromProcess, Ready, Unloaded
from maas.serving.plan import ModelPlan, Plan, read_plan
from maas.serving.planning import Catalogue
from maas.settings import ServingSettings
from maas.testing.fleet import FakeFleet
from maas.testing.pipeline import REPORT, SIGNATURE

CREATED = "2026-01-01T00:00:00Z"


class Ground:
    """Steps a manager by hand.

    `held` are the versions that are loaded besides the default and the aliases. `acking` says
    whether ingresses acknowledge every plan at once; else `acknowledged` is what they hold. `plans`
    keeps every plan that was published.
    """

    def __init__(self, run: Path, **settings: float):
        self.run = run
        self.now = 1000.0
        self.records: dict[str, ModelRecord] = {}
        self.held: dict[str, frozenset[int]] = {}
        self.acking = True
        self.acknowledged: int | None = 0
        self.plans: dict[int, Plan] = {}
        self.manager = Manager(
            Catalogue(
                lambda: tuple(self.records.values()),
                self.artifact,
                lambda name: self.held.get(name, frozenset()),
            ),
            ServingSettings(**settings),
            run,
            "epoch",
            self._broadcast,
            lambda: self.acknowledged,
            lambda: self.now,
        )
        self.fleet = FakeFleet(run, self._say, self._exited)
        self.crashed: set[tuple[str, int]] = set()

    # What the registry does

    def publish(
        self, name: str, *versions: int, default: int | None = None, previous: int | None = None,
        host: str = "shared", **aliases: int,
    ) -> None:  # fmt: skip
        """Puts a model of these versions in the registry's place; the last is the default."""
        report = msgspec.structs.replace(REPORT, host=host)
        records = tuple(
            VersionRecord(
                name, n, f"sha256:{n}", CREATED, "ann", {SIGNATURE.name: SIGNATURE}, report
            )
            for n in sorted(versions, reverse=True)
        )
        if default is None and versions:
            default = versions[-1]
        self.records[name] = ModelRecord(name, CREATED, default, None, previous, aliases, records)
        self.manager.registry_changed()

    def change(self, name: str, **fields: object) -> None:
        self.records[name] = msgspec.structs.replace(self.records[name], **fields)
        self.manager.registry_changed()

    def delete(self, name: str) -> None:
        del self.records[name]
        self.manager.registry_changed()

    def artifact(self, name: str, version: int) -> Artifact:
        return Artifact(f"/artifacts/{name}-{version}", "model.bin", "onnx", {})

    # What happens

    async def step(self) -> bool:
        """One pass of the manager, one of every host; says whether anything moved."""
        number = self.manager.number
        await self.manager.reconcile(self.fleet)
        if self.acking:
            self.acknowledged = self.manager.number
        moved = self.fleet.work()
        return moved or self.manager.pending or self.manager.number != number

    async def settle(self) -> None:
        """Steps until nothing moves."""
        for _ in range(200):
            if not await self.step() and not await self.step():
                return
        raise AssertionError("it does not come to rest")

    def crash(self, host_id: str) -> None:
        self.fleet.crash(host_id)

    def _say(self, host_id: str, message: FromProcess) -> None:
        if isinstance(message, Ready):
            self.manager.on_ready(host_id, message)
        elif isinstance(message, Failed):
            self.manager.on_failed(host_id, message)
        elif isinstance(message, Unloaded):
            self.manager.on_unloaded(host_id, message)

    def _exited(self, host_id: str, reason: str, asked: bool) -> None:
        host = self.manager.hosts.get(host_id)
        if host is not None and not asked:
            self.crashed.add((host_id, host.incarnation))
        self.manager.on_exit(host_id, reason, asked)

    def _broadcast(self, changed: Changed) -> None:
        self.plans[changed.number] = read_plan(self.run)

    # What came of it

    @property
    def plan(self) -> Plan:
        return read_plan(self.run)

    def model(self, name: str) -> ModelPlan:
        return self.plan.models[name]

    def states(self, name: str) -> dict[int, ServableState]:
        return {number: version.state for number, version in self.model(name).versions.items()}

    def host_of(self, name: str, version: int) -> str:
        return self.model(name).versions[version].host

    def loaded(self) -> Mapping[str, set[str]]:
        """What each host holds in memory."""
        return {
            host_id: {str(one) for one in host.loaded} for host_id, host in self.fleet.hosts.items()
        }


def servable(text: str) -> ServableId:
    name, _, version = text.rpartition(":")
    return ServableId(name, int(version))
