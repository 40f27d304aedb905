"""What all processes have counted, merged and written as Prometheus text.

Counts of a process that has ended are kept, so that a counter never goes back while control
lives. Beside our own names stand those of Triton that existing dashboards read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from maas.telemetry.series import Series, cumulative
from maas.telemetry.vllm import vllm

COUNTERS = {
    "maas_calls_total": ("Predictions answered", ("model", "version", "dialect", "outcome")),
    "maas_rows_total": ("Rows predicted", ("model", "version", "dialect")),
    "maas_http_requests_total": ("Requests to the data plane", ("dialect", "verb", "code")),
    "maas_batches_total": ("Batches run", ("model", "version")),
    "maas_batch_rows_total": ("Rows run in batches", ("model", "version")),
    "maas_prompt_tokens_total": ("Tokens of prompts", ("model", "version", "dialect")),
    "maas_prompt_cached_tokens_total": (
        "Tokens of prompts that were known from earlier calls",
        ("model", "version", "dialect"),
    ),
    "maas_generated_tokens_total": ("Tokens written", ("model", "version", "dialect")),
    "maas_finished_total": (
        "Answers of language models, by why they ended",
        ("model", "version", "reason"),
    ),
    "maas_prefix_tokens_total": ("Tokens looked up in the prefix cache", ("model", "version")),
    "maas_prefix_hit_tokens_total": ("Tokens found in the prefix cache", ("model", "version")),
}
GAUGES = {
    "maas_generations_running": ("Answers being written", ("model", "version")),
    "maas_generations_waiting": ("Answers that wait for a place", ("model", "version")),
    "maas_kv_cache_used_ratio": ("Part of the KV cache in use", ("model", "version")),
}
HISTOGRAMS = {
    "maas_call_seconds": (
        "Time of a prediction, decoded to answered",
        ("model", "version", "dialect"),
    ),
    "maas_call_failed_seconds": (
        "Time of a prediction that failed",
        ("model", "version", "dialect"),
    ),
    "maas_first_token_seconds": (
        "Time from a call to its first token",
        ("model", "version", "dialect"),
    ),
    "maas_generation_seconds": (
        "Time of a whole answer of a language model",
        ("model", "version", "dialect"),
    ),
    "maas_inter_token_seconds": (
        "Time between a call's deltas, for each token of the later one",
        ("model", "version", "dialect"),
    ),
    "maas_infer_seconds": ("Time of one run of the engine", ("model", "version")),
    "maas_queue_seconds": ("Time a frame waited for its engine", ("model", "version")),
}
_Key = tuple[str, tuple[str, ...]]


class Merged:
    """Adds up the series of many processes, those that have ended included."""

    def __init__(self) -> None:
        self._ended: dict[_Key, Series] = {}
        self._last: dict[str, tuple[Series, ...]] = {}

    def update(self, process: str, series: tuple[Series, ...]) -> None:
        """Takes a process's newest counts; less than before means that it is a new process."""
        now = {(one.name, one.labels): one.count for one in series}
        if any(
            now.get((old.name, old.labels), 0.0) < old.count
            for old in self._last.get(process, ())
            if not old.gauge
        ):
            self.ended(process)
        self._last[process] = series

    def ended(self, process: str) -> None:
        """A process has ended: its counts stay, its gauges go."""
        for one in self._last.pop(process, ()):
            if not one.gauge:
                _add(self._ended, one)

    def series(self) -> Mapping[_Key, Series]:
        """Everything added up."""
        total = dict(self._ended)
        for series in self._last.values():
            for one in series:
                _add(total, one)
        return total


def _add(total: dict[_Key, Series], one: Series) -> None:
    key = (one.name, one.labels)
    old = total.get(key)
    if old is None:
        total[key] = one
        return
    buckets = tuple(a + b for a, b in zip(old.buckets, one.buckets, strict=True))
    total[key] = Series(
        one.name, one.labels, old.count + one.count, old.total + one.total, buckets, one.gauge
    )


class Gauge:
    """One labelled number as it is now."""

    __slots__ = ("help", "labels", "name", "samples")

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: tuple[str, ...],
        samples: Iterable[tuple[tuple[str, ...], float]],
    ):
        self.name = name
        self.help = help_text
        self.labels = labels
        self.samples = tuple(samples)


class _Snapshot(Collector):
    def __init__(self, series: Mapping[_Key, Series], gauges: Iterable[Gauge]):
        self._series = series
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, (text, labels) in COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=labels)
            for one in self._named(name):
                family.add_metric(one.labels, one.count)
            yield family
        for name, (text, labels) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for one in self._named(name):
                histogram.add_metric(one.labels, cumulative(one.buckets), one.total)
            yield histogram
        for name, (text, labels) in GAUGES.items():
            now = GaugeMetricFamily(name, text, labels=labels)
            for one in self._named(name):
                now.add_metric(one.labels, one.count)
            yield now
        yield from self._triton()
        yield from vllm(self._named)
        for gauge in self._gauges:
            found = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for values, value in gauge.samples:
                found.add_metric(values, value)
            yield found

    def _named(self, name: str) -> list[Series]:
        return [one for key, one in self._series.items() if key[0] == name]

    def _triton(self) -> Iterable[Metric]:
        """Triton's names, from its `docs/user_guide/metrics.md`."""
        answered: dict[tuple[str, ...], float] = {}
        failed: dict[tuple[str, ...], float] = {}
        for one in self._named("maas_calls_total"):
            sums = answered if one.labels[3] == "ok" else failed
            sums[one.labels[:2]] = sums.get(one.labels[:2], 0.0) + one.count
        yield _triton("nv_inference_request_success", "Successful inference requests", answered)
        yield _triton("nv_inference_request_failure", "Failed inference requests", failed)
        for ours, theirs, text, seconds in (
            ("maas_batch_rows_total", "nv_inference_count", "Rows inferred", False),
            ("maas_batches_total", "nv_inference_exec_count", "Engine runs", False),
            ("maas_queue_seconds", "nv_inference_queue_duration_us", "Queue time, µs", True),
            (
                "maas_infer_seconds",
                "nv_inference_compute_infer_duration_us",
                "Compute time, µs",
                True,
            ),
            ("maas_call_seconds", "nv_inference_request_duration_us", "Request time, µs", True),
        ):
            sums = {}
            for one in self._named(ours):
                amount = one.total * 1e6 if seconds else one.count
                sums[one.labels[:2]] = sums.get(one.labels[:2], 0.0) + amount
            yield _triton(theirs, text, sums)


def _triton(name: str, text: str, sums: Mapping[tuple[str, ...], float]) -> Metric:
    """A counter named as Triton names it: without the `_total` that the library would add."""
    family = Metric(name, text, "unknown")
    for (model, version), value in sums.items():
        family.add_sample(name, {"model": model, "version": version}, value)
    return family


def render(series: Mapping[_Key, Series], gauges: Iterable[Gauge]) -> bytes:
    """Writes Prometheus text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(series, gauges))
    return generate_latest(registry)
