"""Language models in a host: bounds, first answer, how busy they are, end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta, GenerateRequest, Sampling, TokenPrompt
from maas.core.ports import GenerationBounds, Generative
from maas.sandbox import available_bytes
from maas.settings import GenerationSettings
from maas.telemetry.metrics import Metrics

FREE_PART = 4
"""A KV cache takes at most this part of the memory that is free, where no setting says more."""
IDLE_POLL_S = 0.05
WARM_TOKENS = 4


def bounds_of(settings: GenerationSettings) -> GenerationBounds:
    """What one language model may take on this machine, now."""
    return GenerationBounds(
        threads=settings.threads or len(os.sched_getaffinity(0)),
        kv_bytes=settings.kv_bytes or available_bytes() // FREE_PART,
        sequences=settings.sequences,
        waiting=settings.waiting,
        batch_tokens=settings.batch_tokens,
        max_tokens=settings.max_tokens,
        template_s=settings.template_s,
        template_bytes=settings.template_bytes,
        yielding=settings.yielding,
    )


def warm_up(model: Generative, timeout_s: float) -> None:
    """Has a model write a few tokens; what they are does not matter.

    Raises:
        MaasError: the model's own, or DEADLINE_EXCEEDED.
    """
    over = threading.Event()
    failures: list[MaasError] = []

    def deliver(items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        for _, item in items:
            if isinstance(item, MaasError):
                failures.append(item)
                over.set()
            elif item.usage is not None:
                over.set()

    sampling = Sampling(max_tokens=WARM_TOKENS, temperature=0.0, ignore_end=True)
    model.start(0, GenerateRequest(TokenPrompt((0, 0)), sampling), deliver)
    if not over.wait(timeout_s):
        model.cancel(0, deliver)
        raise MaasError(
            ErrorKind.DEADLINE_EXCEEDED, f"it wrote nothing within {timeout_s:g} s of being loaded"
        )
    if failures:
        raise failures[0]


def wait_until_idle(model: Generative, timeout_s: float) -> None:
    """Waits until a model has written all that it was asked for, or for so long."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        counts = model.counts()
        if not counts.running and not counts.waiting:
            return
        time.sleep(IDLE_POLL_S)


def count_generations(models: Iterable[tuple[str, int, Generative]], metrics: Metrics) -> None:
    """Writes down how busy language models are.

    Args:
        models: name, version and model of each.
        metrics: this process's.
    """
    for name, version, model in models:
        labels = (name, str(version))
        counts = model.counts()
        metrics.gauge("maas_generations_running", labels).value = counts.running
        metrics.gauge("maas_generations_waiting", labels).value = counts.waiting
        metrics.gauge("maas_kv_cache_used_ratio", labels).value = counts.kv_used
        metrics.counter("maas_prefix_tokens_total", labels).count = counts.prefix_tokens
        metrics.counter("maas_prefix_hit_tokens_total", labels).count = counts.prefix_hits
