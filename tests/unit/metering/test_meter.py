from __future__ import annotations

import asyncio

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef, ServableId
from maas.core.messages import CallContext, InferCall, InferReply, ModelView, Principal
from maas.core.ports import Engine
from maas.metering.meter import Meter
from maas.telemetry.metrics import Metrics
from maas.telemetry.series import Series, collect
from maas.testing.pipeline import SIGNATURE

CALLER = Principal("", "ann", "caller")


class Doubler:
    """An engine that answers after `takes` seconds of a clock that it moves itself."""

    def __init__(self) -> None:
        self.now = 100.0
        self.takes = 0.25
        self.error: BaseException | None = None
        self.wait: asyncio.Event | None = None

    def resolve(self, ref: ModelRef, context: CallContext) -> ModelView:
        return ModelView(ServableId(ref.name, 1), {}, "numpy", True)

    async def infer(self, call: InferCall) -> InferReply:
        if self.wait is not None:
            await self.wait.wait()
        self.now += self.takes
        if self.error is not None:
            raise self.error
        return InferReply(call.servable, call.signature, {"y": 2 * call.inputs["x"]})


def call(name: str = "m", version: int = 1, rows: int = 2, dialect: str = "oip") -> InferCall:
    context = CallContext("r", CALLER, 0.0, dialect)
    inputs = {"x": np.ones((rows, 4), np.float32)}
    return InferCall(ServableId(name, version), SIGNATURE, inputs, rows, None, context)


class Ground:
    def __init__(self) -> None:
        self.engine = Doubler()
        self.metrics = Metrics()
        self.meter: Engine = Meter(self.engine, self.metrics, lambda: self.engine.now)

    def series(self) -> dict[tuple[str, ...], Series]:
        return {(one.name, *one.labels): one for one in collect(self.metrics)}


@pytest.fixture
def ground() -> Ground:
    return Ground()


async def test_the_answer_is_the_engines(ground: Ground) -> None:
    reply = await ground.meter.infer(call())
    assert reply.outputs["y"].tolist() == [[2.0] * 4] * 2


async def test_calls_rows_and_seconds_are_counted(ground: Ground) -> None:
    for rows in (1, 2, 3):
        await ground.meter.infer(call(rows=rows))
    series = ground.series()
    labels = ("m", "1", "oip")
    assert series["maas_calls_total", *labels, "ok"].count == 3
    assert series["maas_rows_total", *labels].count == 6
    seconds = series["maas_call_seconds", *labels]
    assert (seconds.count, seconds.total) == (3, 0.75)


async def test_models_versions_and_dialects_are_counted_apart(ground: Ground) -> None:
    for one in (call(), call("n"), call(version=2), call(dialect="plain")):
        await ground.meter.infer(one)
    assert {key[1:] for key in ground.series() if key[0] == "maas_rows_total"} == {
        ("m", "1", "oip"), ("n", "1", "oip"), ("m", "2", "oip"), ("m", "1", "plain"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ErrorKind)
async def test_a_failure_is_counted_under_its_kind_and_passed_on(
    ground: Ground, kind: ErrorKind
) -> None:
    error = ground.engine.error = MaasError(kind, "no")
    with pytest.raises(MaasError) as caught:
        await ground.meter.infer(call())
    assert caught.value is error
    seconds = ("maas_call_failed_seconds", "m", "1", "oip")
    series = ground.series()
    assert set(series) == {("maas_calls_total", "m", "1", "oip", kind.value), seconds}
    assert (series[seconds].count, series[seconds].total) == (1, 0.25)


async def test_a_call_that_is_cancelled_is_counted_and_cancels_the_one_inside(
    ground: Ground,
) -> None:
    ground.engine.wait = asyncio.Event()
    calling = asyncio.ensure_future(ground.meter.infer(call()))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ("maas_calls_total", "m", "1", "oip", "cancelled") in ground.series()


async def test_an_error_that_nobody_expects_is_no_cancellation(ground: Ground) -> None:
    ground.engine.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await ground.meter.infer(call())
    assert ("maas_calls_total", "m", "1", "oip", "internal") in ground.series()


def test_asking_which_version_counts_nothing(ground: Ground) -> None:
    view = ground.meter.resolve(ModelRef("m"), call().context)
    assert view.servable == ServableId("m", 1)
    assert ground.series() == {}
