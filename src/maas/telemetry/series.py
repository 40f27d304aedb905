"""What a process has counted, as it travels to control."""

from __future__ import annotations

from msgspec import Struct

from maas.telemetry.metrics import BUCKETS_S, Metrics


class Series(Struct, frozen=True, array_like=True):
    """One labelled series of counts since the process started.

    Args:
        name: the metric's.
        labels: values in the metric's label order.
        count: observations.
        total: their sum.
        buckets: counts per histogram bucket (not cumulative); empty for a counter.
        gauge: it is a number as it is now, in `count`, and goes with its process.
    """

    name: str
    labels: tuple[str, ...]
    count: float
    total: float = 0.0
    buckets: tuple[int, ...] = ()
    gauge: bool = False


def collect(metrics: Metrics) -> tuple[Series, ...]:
    """Everything counted so far, cumulative."""
    return (
        *(
            Series(name, labels, counter.count)
            for (name, labels), counter in list(metrics.counters.items())
        ),
        *(
            Series(name, labels, gauge.value, gauge=True)
            for (name, labels), gauge in list(metrics.gauges.items())
        ),
        *(
            Series(name, labels, sum(found.buckets), found.total, tuple(found.buckets))
            for (name, labels), found in list(metrics.histograms.items())
        ),
    )


def cumulative(buckets: tuple[int, ...]) -> list[tuple[str, float]]:
    """A histogram's buckets as Prometheus has them: upper bound, observations up to it."""
    total = 0
    pairs = []
    for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), buckets, strict=True):
        total += count
        pairs.append((bound, float(total)))
    return pairs
