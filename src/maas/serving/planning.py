"""From what the manager knows to what others read: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from maas.core.identity import ServableId
from maas.core.ports import Artifact
from maas.core.records import ModelRecord
from maas.core.states import ServableState
from maas.serving.plan import SCHEMA, ModelPlan, Plan
from maas.serving.policy import VersionSnapshot
from maas.serving.versions import HostEntry, VersionEntry


class Catalogue:
    """What the manager asks of the registry.

    Args:
        snapshot: every model with its versions.
        artifact: a version's files.
    """

    def __init__(
        self,
        snapshot: Callable[[], tuple[ModelRecord, ...]],
        artifact: Callable[[str, int], Artifact],
    ):
        self.snapshot = snapshot
        self.artifact = artifact


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
) -> Plan:
    """Writes down the present state.

    Args:
        epoch: this life of control.
        number: the plan's.
        versions: every version there is or that is still loaded.
        hosts: every host.
        models: what the registry says.
        serving: where unversioned calls go.

    Returns:
        The plan; aliases in it name only versions that are AVAILABLE or are being restarted.
    """
    by_name: dict[str, dict[int, VersionEntry]] = {}
    for servable, entry in versions.items():
        by_name.setdefault(servable.name, {})[servable.version] = entry
    plans = {}
    for name, entries in by_name.items():
        record = models.get(name)
        aliases = {
            alias: number
            for alias, number in ({} if record is None else record.aliases).items()
            if number in entries and _routable(entries[number])
        }
        plans[name] = ModelPlan(
            {number: entry.plan() for number, entry in entries.items()},
            serving.get(name),
            aliases,
        )
    return Plan(SCHEMA, epoch, number, plans, {host.id: host.plan() for host in hosts.values()})


def _routable(entry: VersionEntry) -> bool:
    return entry.recovering or entry.state is ServableState.AVAILABLE
