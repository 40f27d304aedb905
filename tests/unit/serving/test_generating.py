from __future__ import annotations

import threading
from collections.abc import Sequence

import maas_test_parrot
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta, GenerateRequest, Sampling, TextPrompt
from maas.core.ports import Deliver
from maas.serving.generating import (
    available_bytes,
    bounds_of,
    count_generations,
    wait_until_idle,
    warm_up,
)
from maas.settings import GenerationSettings
from maas.telemetry.metrics import Metrics

Parrot = maas_test_parrot.Parrot


def test_bounds_follow_the_settings_and_the_machine() -> None:
    bounds = bounds_of(GenerationSettings(threads=3, kv_bytes=5, sequences=7, yielding=False))
    assert (bounds.threads, bounds.kv_bytes, bounds.sequences) == (3, 5, 7)
    assert not bounds.yielding
    free = bounds_of(GenerationSettings())
    assert free.threads >= 1
    assert 0 < free.kv_bytes < available_bytes()


def test_a_model_that_writes_is_warm() -> None:
    model = Parrot()
    warm_up(model, 5.0)
    assert model.counts().running == 0
    model.close()


def test_one_that_writes_nothing_in_time_is_refused() -> None:
    model = Parrot(pace_s=0.2)
    with pytest.raises(MaasError, match="wrote nothing within") as caught:
        warm_up(model, 0.05)
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
    assert model.counts().running == 0
    model.close()


def test_one_that_fails_says_why() -> None:
    class Silent(Parrot):  # type: ignore[misc,valid-type]
        def start(self, number: int, request: GenerateRequest, deliver: Deliver) -> None:
            deliver([(number, MaasError(ErrorKind.INTERNAL, "no weights"))])

    model = Silent()
    with pytest.raises(MaasError, match="no weights"):
        warm_up(model, 5.0)
    model.close()


def test_what_is_being_written_is_waited_for() -> None:
    model = Parrot(pace_s=0.01)
    over = threading.Event()

    def deliver(items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        if any(isinstance(item, Delta) and item.usage is not None for _, item in items):
            over.set()

    model.start(1, GenerateRequest(TextPrompt("a b c d e"), Sampling()), deliver)
    wait_until_idle(model, 10.0)
    assert over.is_set()
    model.start(2, GenerateRequest(TextPrompt("stall"), Sampling()), deliver)
    wait_until_idle(model, 0.1)
    assert model.counts().running == 1
    model.close()


def test_how_busy_models_are_is_counted() -> None:
    model, metrics = Parrot(), Metrics()
    model.start(1, GenerateRequest(TextPrompt("stall"), Sampling()), lambda _: None)
    count_generations([("m", 2, model)], metrics)
    assert metrics.gauges["maas_generations_running", ("m", "2")].value == 1
    assert metrics.gauges["maas_kv_cache_used_ratio", ("m", "2")].value == 1 / 8
    assert metrics.counters["maas_prefix_hit_tokens_total", ("m", "2")].count == 4
    model.close()
