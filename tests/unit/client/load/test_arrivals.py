from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

from maas.client.load.arrivals import due_times
from maas.client.load.messages import LoadPlan
from maas.client.load.run import split


def test_a_constant_rate_has_equal_intervals() -> None:
    assert list(islice(due_times(1000, "constant", 0.5, 0), 3)) == [500_000, 1_500_000, 2_500_000]


def test_poisson_arrivals_have_exponential_intervals() -> None:
    times = list(islice(due_times(1000, "poisson", 0, 7), 20_001))
    intervals = np.array([after - before for before, after in pairwise(times)]) / 1e9
    assert intervals.mean() == pytest.approx(1e-3, rel=0.05)
    assert intervals.std() == pytest.approx(1e-3, rel=0.05)
    assert times == list(islice(due_times(1000, "poisson", 0, 7), 20_001))


def test_processes_share_a_constant_rate_without_gaps() -> None:
    plan = LoadPlan("h", 1, False, (), connections=7, seconds=1, rate=900, arrivals="constant")
    shares = split(plan, 3)
    assert [share.connections for share in shares] == [3, 2, 2]
    merged = sorted(
        time
        for share in shares
        for time in islice(due_times(share.rate, "constant", share.offset, share.seed), 300)
    )
    assert merged == pytest.approx([number / 900 * 1e9 for number in range(900)], abs=2)
    assert len(split(plan, 50)) == 7
    assert len({share.seed for share in shares}) == 3
