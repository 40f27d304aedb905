"""When the requests of an open loop are due."""

from __future__ import annotations

import random
from collections.abc import Iterator

SECOND = 1_000_000_000


def due_times(rate: float, arrivals: str, offset: float, seed: int) -> Iterator[int]:
    """Yields the times, ns after the start, without end.

    Args:
        rate: requests a second, above 0.
        arrivals: `constant`, all intervals alike; or `poisson`, as callers that know nothing of
            each other come: exponentially distributed intervals.
        offset: of the first, as a share of the interval (`constant`).
        seed: of the random intervals.
    """
    if arrivals == "constant":
        number = 0
        while True:
            yield int((number + offset) / rate * SECOND)
            number += 1
    intervals = random.Random(seed)  # noqa: S311  # traffic, not secrets
    time_s = 0.0
    while True:
        time_s += intervals.expovariate(rate)
        yield int(time_s * SECOND)
