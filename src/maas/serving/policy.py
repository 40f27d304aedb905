"""What to load and unload next: pure functions over snapshots.

After TensorFlow Serving's availability-preserving policy: a version is unloaded only when no
unversioned traffic depends on it, and the new one is loaded before the old one goes.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from msgspec import Struct

from maas.core.records import ModelRecord
from maas.core.states import ServableState


class VersionSnapshot(Struct, frozen=True):
    """One version as the policy sees it.

    Args:
        version: its number.
        state: where it is.
        aspired: whether it should be loaded.
        serving: whether unversioned traffic goes to it now.
        failed: whether its last load failed; it is not tried again by itself.
    """

    version: int
    state: ServableState
    aspired: bool
    serving: bool
    failed: bool = False


class Load(Struct, frozen=True):
    """Load that version."""

    version: int


class Unload(Struct, frozen=True):
    """Unload that version."""

    version: int


def next_action(versions: Sequence[VersionSnapshot]) -> Load | Unload | None:
    """The next thing to do for one model; idempotent, and None when all is as it should be.

    Loads come first. The version that serves is never unloaded: it goes once calls go elsewhere.
    """
    for one in versions:
        if one.aspired and not one.failed and one.state in (ServableState.START, ServableState.END):
            return Load(one.version)
    for one in versions:
        if one.state is ServableState.AVAILABLE and not one.aspired and not one.serving:
            return Unload(one.version)
    return None


def aspired_versions(model: ModelRecord, wanted: Set[int]) -> frozenset[int]:
    """Which versions should be loaded.

    The default, the one that rollback would restore, those with an alias, and those that callers
    have asked for by number since the server started; none of a model that was unloaded by hand.
    """
    if model.unloaded:
        return frozenset()
    existing = {version.version for version in model.versions}
    aspired = set(model.aliases.values()) | set(wanted)
    for number in (model.default_version, model.previous_version):
        if number is not None:
            aspired.add(number)
    return frozenset(aspired & existing)


def serving_version(
    desired: int | None,
    serving: int | None,
    previous: int | None,
    available: Set[int],
    failed: Set[int],
) -> int | None:
    """Where unversioned calls go: the desired version once it is AVAILABLE, else what served.

    Args:
        desired: what the registry says.
        serving: where they went until now; None after a start.
        previous: what rollback would restore; stands in where the desired version fails and
            nothing served before (a start).
        available: versions that are AVAILABLE, or being restarted after they were.
        failed: versions that could not be loaded.
    """
    if desired is None or desired in available:
        return desired
    if serving in available:
        return serving
    return previous if desired in failed and previous in available else None
