"""The meter: an engine that counts what goes through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta, Usage
from maas.core.messages import GenerateCall, InferCall, InferReply
from maas.core.ports import Engine
from maas.telemetry.metrics import Counter, Histogram, Metrics

OK = "ok"


class Meter:
    """An `Engine` around an engine. Cancelling a call cancels the one inside it.

    Args:
        engine: what answers.
        metrics: where calls, rows and seconds are counted, by model, version and dialect.
        clock: seconds.
    """

    def __init__(
        self, engine: Engine, metrics: Metrics, clock: Callable[[], float] = time.perf_counter
    ):
        self._engine = engine
        self.resolve = engine.resolve  # nothing is counted there, so nothing stands between
        self._metrics = metrics
        self._clock = clock
        self._series: dict[tuple[str, int, str], tuple[Counter, Counter, Histogram]] = {}

    async def infer(self, call: InferCall) -> InferReply:
        """Answers one prediction and counts it.

        Raises:
            MaasError: the engine's own, counted under its kind.
        """
        started = self._clock()
        try:
            reply = await self._engine.infer(call)
        except MaasError as error:
            self._failed(call, error.kind, started)
            raise
        except asyncio.CancelledError:
            self._failed(call, ErrorKind.CANCELLED, started)
            raise
        except Exception:
            self._failed(call, ErrorKind.INTERNAL, started)
            raise
        servable = call.servable
        key = (servable.name, servable.version, call.context.dialect)
        series = self._series.get(key)
        if series is None:
            labels = (servable.name, str(servable.version), call.context.dialect)
            series = self._series[key] = (
                self._metrics.counter("maas_calls_total", (*labels, OK)),
                self._metrics.counter("maas_rows_total", labels),
                self._metrics.histogram("maas_call_seconds", labels),
            )
        calls, rows, seconds = series
        calls.count += 1
        rows.count += call.rows
        seconds.observe(self._clock() - started)
        return reply

    async def generate(self, call: GenerateCall) -> AsyncGenerator[Delta]:
        """Answers a call of a language model and counts its tokens and the time between them.

        A call that is closed before its end counts as cancelled, with the tokens it had.

        Raises:
            MaasError: the engine's own, counted under its kind.
        """
        servable = call.servable
        version = (servable.name, str(servable.version))
        labels = (*version, call.context.dialect)
        between = self._metrics.histogram("maas_inter_token_seconds", labels)
        written = self._metrics.counter("maas_generated_tokens_total", labels)
        last: dict[int, float] = {}
        started = self._clock()
        outcome: str = ErrorKind.CANCELLED
        try:
            async with aclosing(self._engine.generate(call)) as deltas:
                async for delta in deltas:
                    now = self._clock()
                    if delta.tokens:
                        written.count += delta.tokens
                        before = last.get(delta.index)
                        if before is not None:
                            gap = (now - before) / delta.tokens
                            between.observe(gap, delta.tokens)
                        elif not last:
                            first = self._metrics.histogram("maas_first_token_seconds", labels)
                            first.observe(now - started)
                        last[delta.index] = now
                    if delta.finish is not None:
                        reason = (*version, delta.finish)
                        self._metrics.counter("maas_finished_total", reason).add(1)
                    if delta.usage is not None:
                        outcome = OK
                        self._used(labels, delta.usage)
                    yield delta
        except MaasError as error:
            outcome = error.kind
            raise
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception:
            outcome = ErrorKind.INTERNAL
            raise
        finally:
            self._metrics.counter("maas_calls_total", (*labels, outcome)).add(1)
            seconds = self._metrics.histogram("maas_generation_seconds", labels)
            seconds.observe(self._clock() - started)

    def _used(self, labels: tuple[str, ...], usage: Usage) -> None:
        self._metrics.counter("maas_prompt_tokens_total", labels).add(usage.prompt_tokens)
        cached = self._metrics.counter("maas_prompt_cached_tokens_total", labels)
        cached.add(usage.cached_tokens)

    def _failed(self, call: InferCall, kind: ErrorKind, started: float) -> None:
        servable = call.servable
        labels = (servable.name, str(servable.version), call.context.dialect)
        self._metrics.counter("maas_calls_total", (*labels, kind.value)).add(1)
        seconds = self._metrics.histogram("maas_call_failed_seconds", labels)
        seconds.observe(self._clock() - started)
