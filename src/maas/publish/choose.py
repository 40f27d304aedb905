"""Which engine serves: a pure choice over what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.records import EngineTiming

FIRST = "onnx"
"""The engine that serves unless another is faster: it runs everything, and starts fastest."""
MARGIN = 1.1
"""So many times faster another must be. Below it, the next measurement may say the opposite, and
a second library in the host's memory is not worth it."""
SHORTEST = 1e-4
"""Square of what a clock can tell, µs²: a time that is rounded to 0 is still divided by."""


class Choice(Struct, frozen=True):
    """What was chosen.

    Args:
        engine: the runtime's name.
        clause: why, to be put behind the reason for the form; empty for the first engine.
        timings: as measured, the chosen one first, with notes on the others.
    """

    engine: str
    clause: str
    timings: tuple[EngineTiming, ...]


def speed_of(timing: EngineTiming) -> float:
    """µs a row: the geometric mean of a row alone and of a row in a batch.

    It weighs a halving of either alike, whatever their sizes.
    """
    return math.sqrt(max(timing.us_per_row_1 * timing.us_per_row_batch, SHORTEST))


def choose(timings: tuple[EngineTiming, ...], asked: str, refusals: Mapping[str, str]) -> Choice:
    """Chooses the fastest engine that agrees, or the one that was asked for.

    Args:
        timings: of `FIRST`, which agrees, and of others that could run the model.
        asked: an engine's name, or empty.
        refusals: why further engines cannot run the model, by name.

    Raises:
        MaasError: INVALID_ARGUMENT where the engine asked for cannot, or answers otherwise.
    """
    measured = {timing.engine: timing for timing in timings}
    first = measured[FIRST]
    if asked:
        _check_asked(asked, measured, refusals)
        chosen, clause = measured[asked], f"; {asked} was asked for"
    else:
        chosen = min((timing for timing in timings if timing.agrees), key=speed_of)
        ratio = speed_of(first) / speed_of(chosen)
        clause = f"; {chosen.engine} is {ratio:.1f} times as fast as {FIRST}"
        if chosen is first or ratio < MARGIN:
            chosen, clause = first, ""
    others = [_noted(timing, chosen, asked) for timing in timings if timing is not chosen]
    return Choice(chosen.engine, clause, (chosen, *others))


def _check_asked(
    asked: str, measured: Mapping[str, EngineTiming], refusals: Mapping[str, str]
) -> None:
    if asked in refusals:
        raise invalid(
            f"engine {asked!r} cannot serve this model: {refusals[asked]}; leave --engine out, "
            "or name another"
        )
    timing = measured.get(asked)
    if timing is None:
        raise invalid(
            f"there is no engine {asked!r} for this model; possible are "
            f"{', '.join(sorted({*measured, *refusals}))}"
        )
    if not timing.agrees:
        raise invalid(
            f"engine {asked!r} does not answer as the model should: {timing.note}; leave --engine "
            "out, or name another"
        )


def beside(timing: EngineTiming, chosen: EngineTiming) -> EngineTiming:
    """The published form's own framework, with a clause on why it does not serve."""
    ratio = speed_of(timing) / speed_of(chosen)
    note = f"{ratio:.1f} times slower" if ratio >= MARGIN else "needs a process of its own"
    return timing if timing.note else msgspec.structs.replace(timing, note=note)


def _noted(timing: EngineTiming, chosen: EngineTiming, asked: str) -> EngineTiming:
    """With a clause on why it was not chosen."""
    if timing.note:
        return timing
    ratio = speed_of(timing) / speed_of(chosen)
    if ratio >= MARGIN:
        note = f"{ratio:.1f} times slower"
    else:
        note = f"{asked} was asked for" if asked else f"not {MARGIN - 1:.0%} faster"
    return msgspec.structs.replace(timing, note=note)
