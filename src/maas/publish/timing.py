"""Times an engine on one row and on a batch."""

from __future__ import annotations

import time
from collections.abc import Callable

from maas.core.records import EngineTiming

BATCH = 64
BUDGET_S = 0.2
FAR_SLOWER = 3.0
"""A lowered form this many times slower, for one row and for a batch, is not worth its lightness:
a framework needs its own process, but has search trees, say, where ONNX compares all points."""


def time_engine(
    engine: str, one: Callable[[], object], batch: Callable[[], object] | None, rows: int = BATCH
) -> EngineTiming:
    """Measures an engine.

    Args:
        engine: its name.
        one: runs one row.
        batch: runs `rows` rows; None where rows cannot be run together.
        rows: how many those are.

    Returns:
        µs a row, the best of several runs (the least disturbed by neighbours), one thread.
    """
    single = _best_s(one) * 1e6
    if batch is None:
        return EngineTiming(engine, round(single, 2), round(single, 2), 1)
    return EngineTiming(engine, round(single, 2), round(_best_s(batch) * 1e6 / rows, 2), rows)


def _best_s(call: Callable[[], object]) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + BUDGET_S
    for _ in range(5000):
        began = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - began)
        if now > end:
            break
    return best


def times_slower(lowered: EngineTiming, native: EngineTiming) -> float:
    """How many times slower the lowered form is, for one row or for a batch, whichever is less."""
    return min(
        lowered.us_per_row_1 / native.us_per_row_1,
        lowered.us_per_row_batch / native.us_per_row_batch,
    )
