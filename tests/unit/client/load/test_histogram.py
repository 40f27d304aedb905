from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from maas.client.load.histogram import Histogram, bounds_of, bucket_of


@pytest.mark.parametrize("value", [0, 1, 63, 64, 65, 127, 128, 1000, 123_456_789, 2**62])
def test_a_value_lies_in_its_bucket(value: int) -> None:
    lower, upper = bounds_of(bucket_of(value))
    assert lower <= value <= upper
    assert upper - lower <= value / 64


def test_buckets_follow_each_other_without_a_gap() -> None:
    ends = [bounds_of(number) for number in range(1000)]
    assert all(after[0] == before[1] + 1 for before, after in pairwise(ends))


def test_percentiles_are_those_of_the_values_to_a_bucket() -> None:
    random_ = random.Random(1)
    values = [int(random_.lognormvariate(14, 1)) for _ in range(20_000)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for percent in (1, 50, 90, 99, 99.9):
        exact = float(np.percentile(values, percent, method="inverted_cdf"))
        assert exact <= histogram.percentile(percent) <= exact * 1.02
    assert histogram.percentile(100) == histogram.highest == max(values)
    assert histogram.lowest == min(values)
    assert histogram.mean == pytest.approx(np.mean(values))
    assert sum(count for _, _, count in histogram.bars()) == 20_000


def test_merged_is_as_if_counted_together() -> None:
    whole, one, two = Histogram(), Histogram(), Histogram()
    for value in range(1, 5000, 7):
        whole.add(value)
        (one if value % 2 else two).add(value)
    one.merge(two)
    one.merge(Histogram())
    assert one == whole
    empty = Histogram()
    empty.merge(whole)
    assert empty == whole


def test_nothing_counted() -> None:
    assert Histogram().percentile(99) == 0
    assert Histogram().mean == 0
    jitter = Histogram()
    jitter.add(-5)
    assert (jitter.lowest, jitter.highest, jitter.count) == (0, 0, 1)
