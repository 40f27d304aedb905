from __future__ import annotations

import asyncio

import numpy as np
import pytest

from maas.access import Gate
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef, ServableId
from maas.core.messages import CallContext, InferCall, InferReply, ModelView, Principal
from maas.core.ports import Engine
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec

IRIS = ServableId("iris", 1)
SPEC = TensorSpec("x", DType.FP32, (None, 2))
SIGNATURE = Signature("serving_default", (SPEC,), (SPEC,), batched=True)


class Echo:
    """An engine that answers a call with its inputs, once it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.entered = asyncio.Event()
        self.cancelled = False

    def resolve(self, ref: ModelRef, context: CallContext) -> ModelView:
        return ModelView(IRIS, {"serving_default": SIGNATURE}, "echo", defaulted=True)

    async def infer(self, call: InferCall) -> InferReply:
        self.entered.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return InferReply(call.servable, call.signature, call.inputs)


def context(role: str) -> CallContext:
    return CallContext("r1", Principal("key_1", "ann", role), deadline=1e9, dialect="plain")


def call(role: str) -> InferCall:
    inputs = {"x": np.zeros((1, 2), np.float32)}
    return InferCall(IRIS, SIGNATURE, inputs, 1, None, context(role))


async def test_a_gate_is_an_engine_and_lets_known_roles_through() -> None:
    echo = Echo()
    gate: Engine = Gate(echo)
    echo.go.set()
    for role in ("owner", "publisher", "caller"):
        assert gate.resolve(ModelRef("iris"), context(role)).servable == IRIS
        assert (await gate.infer(call(role))).servable == IRIS


@pytest.mark.parametrize("role", ["", "viewer", "Owner"])
async def test_an_unknown_role_reaches_nothing(role: str) -> None:
    echo = Echo()
    gate = Gate(echo)
    with pytest.raises(MaasError) as caught:
        gate.resolve(ModelRef("iris"), context(role))
    assert caught.value.kind is ErrorKind.PERMISSION_DENIED
    with pytest.raises(MaasError):
        await gate.infer(call(role))
    assert not echo.entered.is_set()


async def test_cancelling_a_call_cancels_the_one_inside() -> None:
    echo = Echo()
    task = asyncio.create_task(Gate(echo).infer(call("caller")))
    await echo.entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert echo.cancelled
