from __future__ import annotations

from itertools import pairwise

import pytest

from maas.serving.recovery import (
    LOAD_CRASHES,
    MOST_S,
    WINDOW_S,
    restart_delay,
    too_many_load_crashes,
)


def test_the_first_crashes_cost_nothing() -> None:
    assert restart_delay([100.0], 100.0) == 0
    assert restart_delay([100.0, 100.0], 100.0) == 0


def test_then_the_wait_doubles_up_to_a_bound() -> None:
    waits = [restart_delay([100.0] * n, 100.0) for n in range(3, 20)]
    assert waits[0] > 0
    assert all(b == min(2 * a, MOST_S) for a, b in pairwise(waits))
    assert waits[-1] == MOST_S


def test_crashes_long_ago_are_forgiven() -> None:
    crashes = [0.0] * 10
    assert restart_delay([*crashes, WINDOW_S + 1], WINDOW_S + 1) == 0
    assert restart_delay([*crashes, WINDOW_S - 1], WINDOW_S - 1) > 1


@pytest.mark.parametrize(
    ("crashes", "dedicated", "given_up"),
    [
        (0, False, False),
        (1, False, True),
        (1, True, False),
        (LOAD_CRASHES - 1, True, False),
        (LOAD_CRASHES, True, True),
        (LOAD_CRASHES + 1, True, True),
    ],
)
def test_one_load_crash_in_company_is_one_too_many(
    crashes: int, dedicated: bool, given_up: bool
) -> None:
    assert too_many_load_crashes(crashes, dedicated) is given_up
