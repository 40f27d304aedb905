from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from maas_test_models import BATCHED, SHOUT, WHOLE

from maas.core.identity import ServableId
from maas.core.messages import CallContext, InferCall, Principal, priority_rank
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.serving.lane import Lane, Waiting
from maas.serving.segments import MOST_PACKED

FIXED = Signature(
    "fixed",
    (TensorSpec("x", DType.FP32, (None, 1 << 20)), TensorSpec("n", DType.INT64, (None, 2))),
    (TensorSpec("y", DType.FP32, (None, 1)),),
    batched=True,
)


def waiting(
    inputs: dict[str, np.ndarray], signature: Signature = BATCHED, priority: int = 0
) -> Waiting:
    rows = len(next(iter(inputs.values()))) if signature.batched else 1
    context = CallContext("r", Principal("", "a", "caller"), time.monotonic(), "oip", priority)
    call = InferCall(ServableId("m", 1), signature, inputs, rows, None, context)
    return Waiting(call, asyncio.get_running_loop().create_future())


def put(lane: Lane, calls: Sequence[Waiting]) -> None:
    """As a replica does."""
    for one in calls:
        if one.call.context.priority or lane.ranked:
            lane.insert(one)
        else:
            lane.waiting.append(one)
        lane.rows += one.call.rows


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 1 << 31, 1 << 40]), max_size=12))
def test_calls_are_taken_by_priority_and_else_as_they_came(priorities: list[int]) -> None:
    async def check() -> None:
        lane = Lane(WHOLE, 1, 256)
        calls = [waiting({"x": np.ones((1, 1), np.float32)}, WHOLE, p) for p in priorities]
        put(lane, calls)
        taken = [lane.take()[0] for _ in priorities]
        wanted = sorted(calls, key=lambda one: priority_rank(one.call.context.priority))
        assert taken == wanted
        assert lane.take() == []
        assert (lane.rows, lane.ranked) == (0, False)

    asyncio.run(check())


def test_what_has_no_priority_is_in_the_middle() -> None:
    ranks = [priority_rank(n) for n in (1, 2, 1 << 30, 0, (1 << 31) + 1)]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 5


async def test_a_batch_has_so_many_bytes_at_most() -> None:
    row = {"x": np.ones((1, 1 << 20), np.float32), "n": np.ones((1, 2), np.int64)}
    lane = Lane(FIXED, 1, 256)
    assert lane.row_bytes == (4 << 20) + 16
    put(lane, [waiting(row, FIXED) for _ in range(5)])
    assert [len(lane.take()) for _ in range(2)] == [MOST_PACKED // lane.row_bytes, 2]
    varying = Lane(BATCHED, 1, 256)
    put(varying, [waiting({"x": row["x"]}) for _ in range(5)])
    assert [len(varying.take()) for _ in range(2)] == [4, 1]


async def test_one_call_may_have_more() -> None:
    lane = Lane(BATCHED, 1, 4)
    put(lane, [waiting({"x": np.ones((9, 1 << 20), np.float32)}) for _ in range(2)])
    assert len(lane.take()) == 1


async def test_the_bytes_of_calls() -> None:
    row = {"x": np.ones((3, 1 << 20), np.float32), "n": np.ones((3, 2), np.int64)}
    lane = Lane(FIXED, 1, 256)
    calls = [waiting(row, FIXED), waiting(row, FIXED)]
    assert lane.bytes_of(calls[:1]) == 3 * lane.row_bytes
    assert lane.bytes_of(calls) == 6 * lane.row_bytes
    varying = Lane(BATCHED, 1, 256)
    assert varying.row_bytes == 0
    assert varying.bytes_of([waiting({"x": np.ones((2, 5), np.float32)})] * 2) == 80
    words = Lane(SHOUT, 1, 256)
    assert words.bytes_of([waiting({"text": np.array([b"abc"], object)}, SHOUT)]) == 8


async def test_calls_that_nobody_waits_for_are_passed_over() -> None:
    lane = Lane(BATCHED, 1, 256)
    calls = [waiting({"x": np.ones((1, 1), np.float32)}) for _ in range(3)]
    put(lane, calls)
    calls[0].future.cancel()
    calls[2].future.cancel()
    assert lane.take() == [calls[1]]
    assert (lane.rows, len(lane.waiting)) == (0, 0)
