"""The meter: an engine that counts what goes through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import InferCall, InferReply
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

    def _failed(self, call: InferCall, kind: ErrorKind, started: float) -> None:
        servable = call.servable
        labels = (servable.name, str(servable.version), call.context.dialect)
        self._metrics.counter("maas_calls_total", (*labels, kind.value)).add(1)
        seconds = self._metrics.histogram("maas_call_failed_seconds", labels)
        seconds.observe(self._clock() - started)
