"""What a process has counted, as it travels to control."""

from __future__ import annotations

from msgspec import Struct

from maas.telemetry.metrics import Metrics


class Series(Struct, frozen=True, array_like=True):
    """One labelled series of counts since the process started.

    Args:
        name: the metric's.
        labels: values in the metric's label order.
        count: observations.
        total: their sum.
        buckets: counts per histogram bucket (not cumulative); empty for a counter.
    """

    name: str
    labels: tuple[str, ...]
    count: float
    total: float = 0.0
    buckets: tuple[int, ...] = ()


def collect(metrics: Metrics) -> tuple[Series, ...]:
    """Everything counted so far, cumulative."""
    return (
        *(
            Series(name, labels, counter.count)
            for (name, labels), counter in list(metrics.counters.items())
        ),
        *(
            Series(name, labels, sum(found.buckets), found.total, tuple(found.buckets))
            for (name, labels), found in list(metrics.histograms.items())
        ),
    )
