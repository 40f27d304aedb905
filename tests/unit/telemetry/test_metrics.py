from __future__ import annotations

import msgspec
import pytest

from maas.telemetry.metrics import BUCKETS_S, Histogram, Metrics
from maas.telemetry.series import Series, collect


def test_a_counter_of_the_same_name_and_labels_is_the_same() -> None:
    metrics = Metrics()
    metrics.counter("c", ("a",)).add(2)
    metrics.counter("c", ("a",)).add(0.5)
    metrics.counter("c", ("b",)).add(1)
    assert collect(metrics) == (Series("c", ("a",), 2.5), Series("c", ("b",), 1.0))


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, 0),
        (BUCKETS_S[0], 0),
        (BUCKETS_S[0] * 1.01, 1),
        (BUCKETS_S[-1], len(BUCKETS_S) - 1),
        (BUCKETS_S[-1] + 1, len(BUCKETS_S)),
        (1e9, len(BUCKETS_S)),
    ],
)
def test_a_bucket_holds_what_is_at_most_its_bound(seconds: float, bucket: int) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    assert histogram.buckets == [int(n == bucket) for n in range(len(BUCKETS_S) + 1)]
    assert histogram.total == seconds


def test_the_bounds_grow() -> None:
    assert list(BUCKETS_S) == sorted(set(BUCKETS_S))


def test_a_histograms_count_is_of_all_its_buckets() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.5, 1000.0):
        metrics.histogram("h", ("m",)).observe(seconds)
    [series] = collect(metrics)
    assert (series.name, series.labels, series.count) == ("h", ("m",), 3)
    assert series.total == pytest.approx(1000.501)
    assert sum(series.buckets) == 3


def test_series_travel() -> None:
    series = (Series("c", ("模型",), 1.5), Series("h", (), 2.0, 0.25, (0, 2)))
    data = msgspec.msgpack.encode(series)
    assert msgspec.msgpack.decode(data, type=tuple[Series, ...]) == series
