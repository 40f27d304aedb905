"""From what the manager knows to what others read: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from urllib.parse import quote

import msgspec

from maas.core.identity import ServableId
from maas.core.ports import Artifact
from maas.core.records import ModelRecord
from maas.core.states import ServableState
from maas.serving.plan import SCHEMA, ModelPlan, Plan, VersionPlan
from maas.serving.policy import VersionSnapshot
from maas.serving.versions import HostEntry, VersionEntry


def why_unloaded(name: str) -> str:
    """Why a model that was unloaded by hand does not answer, with the cure."""
    return f"it was unloaded; load it with POST /v2/repository/models/{quote(name)}/load"


class Catalogue:
    """What the manager asks of the registry.

    Args:
        snapshot: every model with its versions. Of one that is unloaded, nothing is wanted: it
            has no default and none before here.
        artifact: a version's files.
        held: versions of a model that are to be loaded besides its default and its aliases.
        importing: whether the first round of watched folders goes on.
    """

    def __init__(
        self,
        snapshot: Callable[[], tuple[ModelRecord, ...]],
        artifact: Callable[[str, int], Artifact],
        held: Callable[[str], frozenset[int]] = lambda _: frozenset(),
        importing: Callable[[], bool] = lambda: False,
    ):
        self._snapshot = snapshot
        self.artifact = artifact
        self.held = held
        self.importing = importing

    def snapshot(self) -> tuple[ModelRecord, ...]:
        """Every model, as it is wanted."""
        return tuple(wanted_of(record) for record in self._snapshot())


def wanted_of(record: ModelRecord) -> ModelRecord:
    """A model as it is wanted: as it is, or with nothing to serve where it is unloaded."""
    if not record.unloaded:
        return record
    return msgspec.structs.replace(record, default_version=None, previous_version=None)


def snapshots(
    entries: Iterable[VersionEntry], aspired: Set[int], serving: int | None
) -> Sequence[VersionSnapshot]:
    """One model's versions as the policy sees them.

    Args:
        entries: what the manager knows of each.
        aspired: those that should be loaded.
        serving: where unversioned calls go.
    """
    return [
        VersionSnapshot(
            entry.record.version,
            entry.state,
            entry.record.version in aspired,
            entry.record.version == serving,
            entry.failed,
        )
        for entry in entries
    ]


def build_plan(
    epoch: str,
    number: int,
    versions: Mapping[ServableId, VersionEntry],
    hosts: Mapping[str, HostEntry],
    models: Mapping[str, ModelRecord],
    serving: Mapping[str, int],
    *,
    importing: bool = False,
) -> Plan:
    """Writes down the present state.

    Args:
        epoch: this life of control.
        number: the plan's.
        versions: every version there is or that is still loaded.
        hosts: every host.
        models: what the registry says.
        serving: where unversioned calls go.
        importing: as the plan has it.

    Returns:
        The plan; aliases in it name only versions that are AVAILABLE or are being restarted, or
        those of a model that is unloaded, which then say so.
    """
    by_name: dict[str, dict[int, VersionEntry]] = {}
    for servable, entry in versions.items():
        by_name.setdefault(servable.name, {})[servable.version] = entry
    plans = {}
    for name, entries in by_name.items():
        record = models.get(name)
        unloaded = record is not None and record.unloaded
        aliases = {
            alias: number
            for alias, number in ({} if record is None else record.aliases).items()
            if number in entries and (unloaded or _routable(entries[number]))
        }
        plans[name] = ModelPlan(
            {
                number: _kept_out(name, entry.plan()) if unloaded else entry.plan()
                for number, entry in entries.items()
            },
            serving.get(name),
            aliases,
        )
    places = {host.id: host.plan() for host in hosts.values()}
    return Plan(SCHEMA, epoch, number, plans, places, importing)


def _kept_out(name: str, version: VersionPlan) -> VersionPlan:
    """A version of a model that is unloaded says so where it is gone."""
    if version.state is not ServableState.END or version.reason:
        return version
    return msgspec.structs.replace(version, reason=why_unloaded(name))


def _routable(entry: VersionEntry) -> bool:
    return entry.recovering or entry.state is ServableState.AVAILABLE
