from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from maas.telemetry.exposition import COUNTERS, HISTOGRAMS, Gauge, Merged, render
from maas.telemetry.metrics import BUCKETS_S, Metrics
from maas.telemetry.series import Series, collect

IRIS = ("iris", "3")


def parsed(metrics: Metrics, *gauges: Gauge) -> dict[str, Metric]:
    merged = Merged()
    merged.update("p", collect(metrics))
    return families(render(merged.series(), gauges))


def families(text: bytes) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


LABELS = ("model", "version", "dialect", "verb", "outcome", "code", "state")


def values(family: Metric, name: str | None = None) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in LABELS if label in sample.labels): sample.value
        for sample in family.samples
        if name is None or sample.name == name
    }


def counted() -> Metrics:
    metrics = Metrics()
    metrics.counter("maas_calls_total", (*IRIS, "oip", "ok")).add(5)
    metrics.counter("maas_calls_total", (*IRIS, "plain", "ok")).add(2)
    metrics.counter("maas_calls_total", (*IRIS, "oip", "invalid_argument")).add(1)
    metrics.counter("maas_rows_total", (*IRIS, "oip")).add(9)
    metrics.counter("maas_http_requests_total", ("oip", "predict", "200")).add(6)
    metrics.counter("maas_batches_total", IRIS).add(4)
    metrics.counter("maas_batch_rows_total", IRIS).add(11)
    for seconds in (0.002, 0.02):
        metrics.histogram("maas_call_seconds", (*IRIS, "oip")).observe(seconds)
        metrics.histogram("maas_infer_seconds", IRIS).observe(seconds / 2)
        metrics.histogram("maas_queue_seconds", IRIS).observe(seconds / 4)
    return metrics


def test_an_empty_server_has_every_family_and_no_sample() -> None:
    found = parsed(Metrics())
    assert {name.removesuffix("_total") for name in COUNTERS} <= set(found)
    assert set(HISTOGRAMS) <= set(found)
    assert not any(family.samples for family in found.values())


def test_counters_read_back_with_their_labels() -> None:
    found = parsed(counted())
    calls = found["maas_calls"]
    assert calls.type == "counter"
    assert [set(sample.labels) for sample in calls.samples] == [
        {"model", "version", "dialect", "outcome"}
    ] * 3
    assert values(calls) == {
        (*IRIS, "oip", "ok"): 5,
        (*IRIS, "plain", "ok"): 2,
        (*IRIS, "oip", "invalid_argument"): 1,
    }
    assert values(found["maas_rows"]) == {(*IRIS, "oip"): 9}
    assert values(found["maas_http_requests"]) == {("oip", "predict", "200"): 6}


def test_histograms_are_cumulative_and_end_at_infinity() -> None:
    family = parsed(counted())["maas_call_seconds"]
    assert family.type == "histogram"
    buckets = [s for s in family.samples if s.name == "maas_call_seconds_bucket"]
    assert [s.labels["le"] for s in buckets] == [*map(str, BUCKETS_S), "+Inf"]
    counts = [s.value for s in buckets]
    assert counts == sorted(counts)
    by_bound = {s.labels["le"]: s.value for s in buckets}
    assert (by_bound["0.001"], by_bound["0.0025"], by_bound["0.01"]) == (0, 1, 1)
    assert (by_bound["0.025"], by_bound["+Inf"]) == (2, 2)
    assert values(family, "maas_call_seconds_count") == {(*IRIS, "oip"): 2}
    assert values(family, "maas_call_seconds_sum") == {(*IRIS, "oip"): pytest.approx(0.022)}


TRITON = {
    "nv_inference_request_success": 7,
    "nv_inference_request_failure": 1,
    "nv_inference_count": 11,
    "nv_inference_exec_count": 4,
    "nv_inference_request_duration_us": 22_000,
    "nv_inference_queue_duration_us": 5_500,
    "nv_inference_compute_infer_duration_us": 11_000,
}


@pytest.mark.parametrize("name", TRITON)
def test_tritons_dashboards_find_their_names(name: str) -> None:
    """The samples are named exactly as Triton names them, which adds no `_total`."""
    merged = Merged()
    merged.update("p", collect(counted()))
    samples = {
        sample.name: (sample.labels, sample.value)
        for family in families(render(merged.series(), ())).values()
        for sample in family.samples
    }
    assert name in samples
    labels, value = samples[name]
    assert labels == {"model": "iris", "version": "3"}
    assert value == pytest.approx(TRITON[name])


def test_gauges_are_as_they_are_now() -> None:
    found = parsed(
        Metrics(), Gauge("maas_version_state", "state", ("model", "state"), [(("m", "END"), 1.0)])
    )
    assert found["maas_version_state"].type == "gauge"
    assert values(found["maas_version_state"]) == {("m", "END"): 1}


@pytest.mark.parametrize("name", ["模型", 'a"b', "a\\b", "a\nb", "{}", "é,=", "</script>"])
def test_a_label_may_hold_anything(name: str) -> None:
    metrics = Metrics()
    metrics.counter("maas_rows_total", (name, "1", "oip")).add(1)
    assert values(parsed(metrics)["maas_rows"]) == {(name, "1", "oip"): 1}


def count(name: str, number: float) -> Series:
    return Series(name, (), number)


def total(merged: Merged, name: str) -> float:
    return merged.series()[name, ()].count


def test_processes_are_added_up() -> None:
    merged = Merged()
    merged.update("a", (count("c", 2), Series("h", (), 2, 0.5, (1, 1))))
    merged.update("b", (count("c", 3), Series("h", (), 1, 0.25, (0, 1))))
    assert total(merged, "c") == 5
    assert merged.series()["h", ()] == Series("h", (), 3, 0.75, (1, 2))


def test_newer_counts_replace_older_ones() -> None:
    merged = Merged()
    for number in (1, 4, 4, 9):
        merged.update("a", (count("c", number),))
    assert total(merged, "c") == 9


def test_reading_changes_nothing() -> None:
    merged = Merged()
    merged.update("a", (count("c", 2),))
    merged.ended("a")
    merged.update("a", (count("c", 1),))
    assert [total(merged, "c") for _ in range(3)] == [3, 3, 3]


def test_what_an_ended_process_counted_stays() -> None:
    merged = Merged()
    merged.update("a", (count("c", 7),))
    merged.ended("a")
    merged.ended("a")
    assert total(merged, "c") == 7
    merged.update("a", (count("c", 2),))
    assert total(merged, "c") == 9


def test_lower_counts_mean_a_new_process() -> None:
    merged = Merged()
    merged.update("a", (count("c", 7), count("d", 1)))
    merged.update("a", (count("c", 2), count("d", 1)))
    assert total(merged, "c") == 9
    assert total(merged, "d") == 2


def test_a_new_process_that_has_not_counted_everything_yet() -> None:
    merged = Merged()
    merged.update("a", (count("c", 7),))
    merged.update("a", (count("d", 1),))
    assert total(merged, "c") == 7
    merged.update("a", ())
    assert total(merged, "c") == 7
    assert total(merged, "d") == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.one_of(
                st.just("ends"),
                st.dictionaries(st.sampled_from(["c", "d"]), st.integers(0, 5), max_size=2),
            ),
        )
    )
)
def test_a_counter_never_goes_back(history: list[tuple[str, dict[str, int] | str]]) -> None:
    """Whatever processes say, in whatever order they end and come again."""
    merged = Merged()
    seen: dict[str, float] = {}
    for process, said in history:
        if isinstance(said, str):
            merged.ended(process)
        else:
            merged.update(process, tuple(count(name, n) for name, n in said.items()))
        now = {name: series.count for (name, _), series in merged.series().items()}
        assert all(now.get(name, 0) >= before for name, before in seen.items())
        seen = now


def language() -> Metrics:
    metrics = Metrics()
    for dialect, tokens in (("openai", 7), ("oip", 3)):
        labels = (*IRIS, dialect)
        metrics.counter("maas_generated_tokens_total", labels).add(tokens)
        metrics.counter("maas_prompt_tokens_total", labels).add(2 * tokens)
        metrics.histogram("maas_first_token_seconds", labels).observe(0.2)
        metrics.histogram("maas_inter_token_seconds", labels).observe(0.01, tokens - 1)
        metrics.histogram("maas_generation_seconds", labels).observe(0.3)
    metrics.counter("maas_finished_total", (*IRIS, "stop")).add(2)
    metrics.counter("maas_prefix_tokens_total", IRIS).add(20)
    metrics.counter("maas_prefix_hit_tokens_total", IRIS).add(5)
    metrics.gauge("maas_generations_running", IRIS).value = 4
    metrics.gauge("maas_generations_waiting", IRIS).value = 1
    metrics.gauge("maas_kv_cache_used_ratio", IRIS).value = 0.5
    return metrics


def test_language_models_are_shown_under_vllms_names_as_well() -> None:
    found = parsed(language())
    assert values(found["maas_generated_tokens"]) == {
        (*IRIS, "openai"): 7,
        (*IRIS, "oip"): 3,
    }
    ours = {name: family for name, family in found.items() if name.startswith("vllm:")}
    plain = {
        sample.name: sample.value
        for family in ours.values()
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert plain == {
        "vllm:num_requests_running": 4,
        "vllm:num_requests_waiting": 1,
        "vllm:kv_cache_usage_perc": 0.5,
        "vllm:prompt_tokens_total": 20,
        "vllm:generation_tokens_total": 10,
        "vllm:prefix_cache_queries_total": 20,
        "vllm:prefix_cache_hits_total": 5,
        "vllm:request_success_total": 2,
        "vllm:time_to_first_token_seconds_count": 2,
        "vllm:time_to_first_token_seconds_sum": 0.4,
        "vllm:inter_token_latency_seconds_count": 8,
        "vllm:inter_token_latency_seconds_sum": pytest.approx(0.08),
        "vllm:e2e_request_latency_seconds_count": 2,
        "vllm:e2e_request_latency_seconds_sum": 0.6,
    }
    for family in ours.values():
        for sample in family.samples:
            assert sample.labels["model_name"] == "iris"
            assert sample.labels["version"] == "3"


def test_a_gauge_may_fall_and_goes_with_its_process() -> None:
    merged, metrics = Merged(), language()
    merged.update("host-1", collect(metrics))
    metrics.gauge("maas_generations_running", IRIS).value = 1
    merged.update("host-1", collect(metrics))
    key = ("maas_generations_running", IRIS)
    assert merged.series()[key].count == 1
    assert merged.series()["maas_finished_total", (*IRIS, "stop")].count == 2
    merged.ended("host-1")
    assert key not in merged.series()
    assert merged.series()["maas_finished_total", (*IRIS, "stop")].count == 2
