"""vLLM's metric names beside ours, so that dashboards made for it show language models here.

Source of the names: vLLM's documentation, "Metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from maas.telemetry.series import Series, cumulative

LABELS = ("model_name", "version")
GAUGES = {
    "vllm:num_requests_running": ("maas_generations_running", "Answers being written"),
    "vllm:num_requests_waiting": ("maas_generations_waiting", "Answers that wait for a place"),
    "vllm:kv_cache_usage_perc": ("maas_kv_cache_used_ratio", "KV cache in use, 1 is all of it"),
}
COUNTERS = {
    "vllm:prompt_tokens_total": ("maas_prompt_tokens_total", "Tokens of prompts"),
    "vllm:generation_tokens_total": ("maas_generated_tokens_total", "Tokens written"),
    "vllm:prefix_cache_queries_total": ("maas_prefix_tokens_total", "Prefix cache, tokens asked"),
    "vllm:prefix_cache_hits_total": ("maas_prefix_hit_tokens_total", "Prefix cache, tokens found"),
}
HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": ("maas_first_token_seconds", "Time to first token"),
    "vllm:inter_token_latency_seconds": ("maas_inter_token_seconds", "Time between tokens"),
    "vllm:e2e_request_latency_seconds": ("maas_generation_seconds", "Time of a whole answer"),
}
FINISHED = "vllm:request_success_total"


def vllm(named: Callable[[str], Sequence[Series]]) -> Iterable[Metric]:
    """Those names, where there is something to say under them.

    Args:
        named: every series of one of our names; the model and its version are the first labels.
    """
    for theirs, (ours, text) in GAUGES.items():
        gauge = GaugeMetricFamily(theirs, text, labels=LABELS)
        for labels, one in _by_version(named(ours)).items():
            gauge.add_metric(labels, one.count)
        yield gauge
    for theirs, (ours, text) in COUNTERS.items():
        counter = CounterMetricFamily(theirs, text, labels=LABELS)
        for labels, one in _by_version(named(ours)).items():
            counter.add_metric(labels, one.count)
        yield counter
    for theirs, (ours, text) in HISTOGRAMS.items():
        histogram = HistogramMetricFamily(theirs, text, labels=LABELS)
        for labels, one in _by_version(named(ours)).items():
            histogram.add_metric(labels, cumulative(one.buckets), one.total)
        yield histogram
    finished = CounterMetricFamily(
        FINISHED, "Answers by why they ended", labels=(*LABELS, "finished_reason")
    )
    for one in named("maas_finished_total"):
        finished.add_metric(one.labels, one.count)
    yield finished


def _by_version(series: Iterable[Series]) -> dict[tuple[str, ...], Series]:
    """Adds up over the dialects."""
    found: dict[tuple[str, ...], Series] = {}
    for one in series:
        labels = one.labels[:2]
        old = found.get(labels)
        found[labels] = one if old is None else _sum(old, one)
    return found


def _sum(a: Series, b: Series) -> Series:
    buckets = tuple(x + y for x, y in zip(a.buckets, b.buckets, strict=True))
    return Series(a.name, a.labels, a.count + b.count, a.total + b.total, buckets)
