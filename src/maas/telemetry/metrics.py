"""Counters and histograms of one process, cheap enough for the hot path.

A process counts; once a second it says all it has counted to control, which merges the processes
and renders Prometheus text (`maas.telemetry.exposition`).
"""

from __future__ import annotations

from bisect import bisect_left

BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds of every histogram's buckets, seconds; one more bucket holds what is above."""


class Counter:
    """A number that only grows. One thread writes it."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0.0

    def add(self, amount: float) -> None:
        """Adds."""
        self.count += amount


class Histogram:
    """Observed seconds in `BUCKETS_S`. One thread writes it."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Counts an observation, or so many of the same."""
        self.buckets[bisect_left(BUCKETS_S, seconds)] += times
        self.total += seconds * times


class Gauge:
    """A number as it is now. One thread writes it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Metrics:
    """All that one process counts, by metric name and label values."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, tuple[str, ...]], Counter] = {}
        self.histograms: dict[tuple[str, tuple[str, ...]], Histogram] = {}
        self.gauges: dict[tuple[str, tuple[str, ...]], Gauge] = {}

    def counter(self, name: str, labels: tuple[str, ...]) -> Counter:
        """The counter of that name and those label values, made when first asked for."""
        key = (name, labels)
        found = self.counters.get(key)
        if found is None:
            found = self.counters[key] = Counter()
        return found

    def gauge(self, name: str, labels: tuple[str, ...]) -> Gauge:
        """The gauge of that name and those label values, made when first asked for."""
        key = (name, labels)
        found = self.gauges.get(key)
        if found is None:
            found = self.gauges[key] = Gauge()
        return found

    def histogram(self, name: str, labels: tuple[str, ...]) -> Histogram:
        """The histogram of that name and those label values, made when first asked for."""
        key = (name, labels)
        found = self.histograms.get(key)
        if found is None:
            found = self.histograms[key] = Histogram()
        return found
