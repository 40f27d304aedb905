"""Counts of processes → what each version has done."""

from __future__ import annotations

from maas.core.identity import ServableId
from maas.core.statistics import BatchStat, DurationStat, VersionStatistics
from maas.telemetry.batchsizes import BatchSizes
from maas.telemetry.metrics import Metrics
from maas.telemetry.series import collect
from maas.telemetry.statistics import Tally

IRIS = ("iris", "3")
ID = ServableId("iris", 3)


def ingress() -> Metrics:
    metrics = Metrics()
    for dialect, rows, seconds in (("oip", 3, 0.5), ("plain", 1, 0.25)):
        metrics.counter("maas_calls_total", (*IRIS, dialect, "ok")).add(1)
        metrics.counter("maas_rows_total", (*IRIS, dialect)).add(rows)
        metrics.histogram("maas_call_seconds", (*IRIS, dialect)).observe(seconds)
    metrics.histogram("maas_call_failed_seconds", (*IRIS, "oip")).observe(0.125)
    metrics.counter("maas_http_requests_total", ("oip", "predict", "200")).add(6)
    return metrics


def host(*runs: tuple[int, float]) -> Metrics:
    metrics = Metrics()
    by_rows = BatchSizes(metrics, "iris", 3)
    for rows, seconds in runs:
        metrics.counter("maas_batches_total", IRIS).add(1)
        metrics.histogram("maas_infer_seconds", IRIS).observe(seconds)
        metrics.histogram("maas_queue_seconds", IRIS).observe(seconds / 2)
        by_rows.observe(rows, seconds)
    return metrics


def test_a_version_is_added_up_over_processes_and_dialects() -> None:
    tally = Tally(lambda: 12.5)
    tally.update("ingress-1", collect(ingress()))
    tally.update("host-1", collect(host((1, 0.5), (3, 0.25), (4, 0.25))))
    tally.update("host-2", collect(host((9, 1.0))))
    assert tally.statistics([ID]) == (
        VersionStatistics(
            ID,
            12_500,
            inference_count=4,
            execution_count=4,
            success=DurationStat(2, 750_000_000),
            fail=DurationStat(1, 125_000_000),
            queue=DurationStat(4, 1_000_000_000),
            compute_infer=DurationStat(4, 2_000_000_000),
            batches=(
                BatchStat(1, DurationStat(1, 500_000_000)),
                BatchStat(4, DurationStat(2, 500_000_000)),
                BatchStat(16, DurationStat(1, 1_000_000_000)),
            ),
        ),
    )


def test_a_version_that_did_nothing_has_done_nothing() -> None:
    tally = Tally()
    tally.update("ingress-1", collect(ingress()))
    other = ServableId("iris", 4)
    assert tally.statistics([other, ID])[0] == VersionStatistics(other)


def test_the_last_run_is_when_a_count_last_grew() -> None:
    now = [1.0]
    tally = Tally(lambda: now[0])
    first = collect(host((1, 0.5)))
    tally.update("host-1", first)
    now[0] = 2.0
    tally.update("host-1", first)
    assert tally.statistics([ID])[0].last_inference_ms == 1000
    tally.ended("host-1")
    now[0] = 3.0
    tally.update("host-1", first)  # its successor has run once, too
    (found,) = tally.statistics([ID])
    assert (found.last_inference_ms, found.execution_count) == (3000, 2)
