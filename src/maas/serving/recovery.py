"""What to do about processes that die: pure functions."""

from __future__ import annotations

from collections.abc import Sequence

WINDOW_S = 60.0
FIRST_S = 0.1
MOST_S = 30.0
LOAD_CRASHES = 3


def restart_delay(crashes: Sequence[float], now: float) -> float:
    """Seconds to wait before a host is started again.

    The first crash in a while costs nothing; then the wait doubles with each one.

    Args:
        crashes: times of its crashes, the newest last, in seconds on the clock of `now`.
        now: the time.
    """
    recent = sum(1 for at in crashes if now - at <= WINDOW_S)
    return 0.0 if recent <= 2 else min(FIRST_S * 2.0 ** (recent - 3), MOST_S)


def too_many_load_crashes(crashes: int, dedicated: bool) -> bool:
    """Whether a version that takes its host down while loading is given up.

    In the shared host one crash is enough to move it to a host of its own.
    """
    return crashes >= (LOAD_CRASHES if dedicated else 1)
