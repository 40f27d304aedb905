"""Which engines may serve what was published, and what `--engine` may ask for."""

from __future__ import annotations

from collections.abc import Mapping

from maas.core.errors import invalid
from maas.core.ports import Runtime
from maas.publish.messages import Finding

ONNX = "onnx"
"""The format that everything is lowered to, and the engine that every lowering is proven with."""
NATIVE = {
    "onnx": "onnx",
    "skops": "sklearn",
    "pickle": "pickle",
    "keras": "keras",
    "keras-h5": "keras",
    "savedmodel": "tensorflow",
    "python": "python",
}
"""The format of what was published → the runtime that serves it in that form."""
NEVER_LOWERED = frozenset({"python"})


def engines_for(format_: str, runtimes: Mapping[str, Runtime]) -> tuple[str, ...]:
    """The runtimes that may serve a published format, the one for its own form first.

    Args:
        format_: as detected.
        runtimes: those there are, by name.
    """
    native = NATIVE[format_]
    lowered = () if format_ in NEVER_LOWERED else racers(runtimes)
    return (native, *(name for name in lowered if name != native))


def racers(runtimes: Mapping[str, Runtime]) -> tuple[str, ...]:
    """The runtimes that open ONNX, ONNX Runtime first."""
    found = sorted(name for name, runtime in runtimes.items() if ONNX in runtime.formats)
    return tuple(sorted(found, key=lambda name: name != ONNX))


def check_engine(asked: str, format_: str, runtimes: Mapping[str, Runtime]) -> None:
    """Refuses an engine that could not serve the format, before anything is opened.

    Raises:
        MaasError: INVALID_ARGUMENT, with the names that are possible.
    """
    possible = engines_for(format_, runtimes)
    if asked and asked not in possible:
        raise invalid(
            f"engine {asked[:60]!r} cannot serve a model published as {format_}; possible "
            f"{'is' if len(possible) == 1 else 'are'} {', '.join(possible)}"
        )


def check_obeyed(asked: str, finding: Finding) -> None:
    """Refuses a finding that the engine asked for cannot serve.

    Raises:
        MaasError: INVALID_ARGUMENT with the finding's reason.
    """
    if not asked or finding.engine == asked:
        return
    if finding.format != ONNX or (asked in NATIVE.values() and asked != ONNX):
        raise invalid(
            f"engine {asked!r} cannot serve this model: {finding.reason}; leave --engine out"
        )
