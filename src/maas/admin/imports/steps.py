"""What to do next with one watched model: pure functions over a snapshot, tested without disks.

After TensorFlow Serving: the policy says which versions are aspired; a new one serves before an
old one goes. Different from it: a version that is refused does not count, so that the next best
one is served in its place, and nothing is retired while nothing else could serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from msgspec import Struct

from maas.admin.imports.sources import All, Latest, Policy, Specific


class Found(Struct, frozen=True):
    """A version's folder as it is now.

    Args:
        stamp: of names, sizes and times of all that is in it; the same while nothing changes.
        complete: nothing in it has changed for a while, so that no copy is under way.
    """

    stamp: str
    complete: bool


class Known(Struct, frozen=True, omit_defaults=True):
    """What came of a version's folder.

    Args:
        stamp: of the folder as it was judged.
        stored: a version of this number was made from it, or was there with the same content.
        serves: that version loads and answers.
        reason: why it does not, or why the folder as it is now was refused; else empty.
    """

    stamp: str
    stored: bool
    serves: bool
    reason: str = ""


class Import(Struct, frozen=True):
    """Publish that version's folder."""

    version: int


class Promote(Struct, frozen=True):
    """Send unversioned calls to that version."""

    version: int


class SetLabel(Struct, frozen=True):
    """Point an alias at that version."""

    label: str
    version: int


class DropLabel(Struct, frozen=True):
    """Remove an alias that was set here."""

    label: str


class Retire(Struct, frozen=True):
    """Delete that version: its folder is gone."""

    version: int


Step = Import | Promote | SetLabel | DropLabel | Retire


class Standing(Struct, frozen=True):
    """One model as it is.

    Args:
        policy: which versions are served.
        found: the version folders there are.
        known: what came of those that were looked at, also of those that are gone.
        promoted: the version that unversioned calls were sent to last, by a step of here.
        labels: aliases that are wanted.
        labelled: aliases that were set here.
        stuck: versions that could not be retired in this pass.
    """

    policy: Policy
    found: Mapping[int, Found]
    known: Mapping[int, Known]
    promoted: int | None = None
    labels: Mapping[str, int] = {}
    labelled: Mapping[str, int] = {}
    stuck: Set[int] = frozenset()


def chosen(policy: Policy, numbers: Iterable[int]) -> tuple[int, ...]:
    """The versions that a policy takes of these, highest first."""
    ordered = sorted(numbers, reverse=True)
    match policy:
        case Latest(count):
            return tuple(ordered[:count])
        case Specific(versions):
            return tuple(number for number in ordered if number in versions)
        case All():
            return tuple(ordered)


def aspired(standing: Standing) -> tuple[int, ...]:
    """The versions that should serve, highest first: those that do or may be tried, by policy."""
    return chosen(
        standing.policy,
        [
            number
            for number in standing.found
            if serves(standing, number) or is_new(standing, number)
        ],
    )


def loaded(standing: Standing, before: Set[int]) -> frozenset[int]:
    """The versions that are to be held loaded.

    Args:
        standing: the model.
        before: those that were until now; they stay until what is aspired has been imported.
    """
    wanted = aspired(standing)
    if any(is_new(standing, number) for number in wanted):
        return frozenset(wanted) | {number for number in before if serves(standing, number)}
    return frozenset(wanted)


def next_step(standing: Standing) -> Step | None:
    """The next thing to do for one model; None when all is as it should be.

    Imports of higher versions come first, then the promotion of the highest that serves, the
    other imports, the labels, and at last, where something serves, what is gone goes.
    """
    wanted = aspired(standing)
    serving = [number for number in wanted if serves(standing, number)]
    target = max(serving, default=None)
    new = [number for number in wanted if is_new(standing, number)]
    if new and (target is None or new[0] > target):
        return Import(new[0])
    if target is None:
        return None
    if target != standing.promoted:
        return Promote(target)
    if new:
        return Import(new[0])
    for label, version in standing.labels.items():
        if version in serving and standing.labelled.get(label) != version:
            return SetLabel(label, version)
    for label in standing.labelled:
        if label not in standing.labels:
            return DropLabel(label)
    for number, known in sorted(standing.known.items()):
        if known.stored and number not in standing.found and number not in standing.stuck:
            return Retire(number)
    return None


def serves(standing: Standing, number: int) -> bool:
    """Whether a version of this number was made from its folder, and answers."""
    known = standing.known.get(number)
    return known is not None and known.serves


def is_new(standing: Standing, number: int) -> bool:
    """Whether the folder is to be imported: complete, and not yet judged as it is now."""
    found = standing.found.get(number)
    if found is None or not found.complete:
        return False
    known = standing.known.get(number)
    return known is None or known.stamp != found.stamp
