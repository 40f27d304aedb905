"""Finds runtimes: built-in ones and anybody's, through the entry-point group `maas.runtimes`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Runtime

GROUP = "maas.runtimes"


def load_runtimes() -> dict[str, Runtime]:
    """Makes every installed runtime, under its entry point's name.

    No framework is imported by this: a runtime imports its own inside `load`.
    """
    return {point.name: _make(point) for point in entry_points(group=GROUP)}


def runtime_for(name: str) -> Runtime:
    """Makes the one runtime of that name, and no other.

    Args:
        name: an entry point of the group, such as `onnx`; `Report.engine` holds it.

    Raises:
        MaasError: FAILED_PRECONDITION, naming the runtimes there are.
    """
    for point in entry_points(group=GROUP, name=name):
        return _make(point)
    known = ", ".join(sorted(point.name for point in entry_points(group=GROUP)))
    raise MaasError(
        ErrorKind.FAILED_PRECONDITION,
        f"there is no runtime {name!r} here; installed are: {known or 'none'}",
    )


def _make(point: EntryPoint) -> Runtime:
    runtime: Runtime = point.load()()
    return runtime
