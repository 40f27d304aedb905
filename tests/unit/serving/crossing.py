"""A host's threads and an ingress's event loop in one process, over a Unix socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from maas_test_models import BATCHED, HOLD, Model, batcher

from maas.core.errors import MaasError
from maas.core.identity import ServableId
from maas.core.messages import CallContext, InferCall, InferReply, Principal
from maas.core.signature import Signature
from maas.core.tensor import Tensors
from maas.serving.batcher import Batcher
from maas.serving.hostsocket import HostSocket
from maas.serving.replica import HostReplica
from maas.serving.segments import Budget
from maas.settings import ServingSettings

M = ServableId("m", 1)
ANN = Principal("", "ann", "caller")


class Host:
    """A host in this process, and an ingress's connection to it."""

    def __init__(self, run: Path, settings: ServingSettings, waiting_rows: int):
        self.path = run / "host.sock"
        self.model = Model()
        self.batchers: dict[tuple[str, int], Batcher] = {("m", 1): batcher(self.model)}
        HostSocket(
            self.path,
            lambda name, version: self.batchers.get((name, version)),
            settings.segment_bytes,
        )
        self.settings = settings
        self.budget = Budget(settings.segment_bytes)
        self.waiting_rows = waiting_rows
        self.call_s = 0.0
        self.lost: list[tuple[tuple[str, int], ...]] = []
        self.overdue: list[tuple[str, int]] = []
        self.gone: dict[object, asyncio.Future[bool]] = {}

    def has_gone(self, caller: object) -> asyncio.Future[bool]:
        return self.gone[caller]

    async def connect(self) -> HostReplica:
        _, replica = await asyncio.get_running_loop().create_unix_connection(
            lambda: HostReplica(
                self.settings,
                self.waiting_rows,
                self.call_s,
                lambda _, in_flight: self.lost.append(in_flight),
                lambda _, name, version: self.overdue.append((name, version)),
                self.budget,
                self.has_gone,
            ),
            str(self.path),
        )
        return replica


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


def call(
    inputs: Tensors,
    signature: Signature = BATCHED,
    seconds: float = 30,
    outputs: tuple[str, ...] | None = None,
    servable: ServableId = M,
    priority: int = 0,
    caller: object = None,
) -> InferCall:
    rows = len(next(iter(inputs.values()))) if signature.batched else 1
    context = CallContext("r", ANN, time.monotonic() + seconds, "oip", priority, caller)
    return InferCall(servable, signature, inputs, rows, outputs, context)


def x(*first: float, columns: int = 2) -> dict[str, np.ndarray]:
    array = np.zeros((len(first), columns), np.float32)
    array[:, 0] = first
    return {"x": array}


async def error_of(future: Awaitable[InferReply]) -> MaasError:
    with pytest.raises(MaasError) as caught:
        await future
    return caught.value


async def hold(host: Host, replica: HostReplica, seconds: float = 30) -> asyncio.Future[InferReply]:
    """Keeps the host busy until `model.go` is set."""
    future = replica.infer(call(x(HOLD), seconds=seconds))
    await asyncio.to_thread(host.model.entered.wait, 60)
    assert host.model.entered.is_set()
    return future
