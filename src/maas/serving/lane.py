"""Calls that wait for one signature of one version, and how they are taken into frames."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from math import prod

import numpy as np

from maas.core.messages import InferCall, InferReply, priority_rank
from maas.core.signature import Signature
from maas.serving.segments import MOST_PACKED

PATIENCE = 5
"""Sweeps, of 20 ms each, that a call waits before its caller is looked for the first time."""


class Waiting:
    """One call that waits for its answer."""

    __slots__ = ("asked", "call", "dropped", "future", "patience", "sweeps")

    def __init__(self, call: InferCall, future: asyncio.Future[InferReply]):
        self.call = call
        self.future = future
        self.dropped = False
        """Whether the host has been told that nobody waits for it any more."""
        self.sweeps = 0
        """How often it was looked at since its caller was looked for."""
        self.patience = PATIENCE
        """So often that happens before its caller is looked for again."""
        self.asked: asyncio.Future[bool] | None = None
        """Will say whether its caller has gone."""


class Lane:
    """Calls for one signature of one version: those waiting, and how many frames are under way.

    Args:
        signature: theirs.
        limit: frames that may be under way.
        batch_rows: rows that may travel as one batch.
    """

    __slots__ = (
        "_batch_rows", "frames", "limit", "ranked", "row_bytes", "rows", "scheduled", "signature",
        "waiting",
    )  # fmt: skip

    def __init__(self, signature: Signature, limit: int, batch_rows: int):
        self.signature = signature
        self.limit = limit
        self.waiting: deque[Waiting] = deque()
        self.rows = 0
        self.frames = 0
        self.scheduled = False
        self.ranked = False
        """Whether a call with a priority of its own may be waiting."""
        self.row_bytes = 0
        """Bytes of tensors in a row, or in a call without a batch axis; 0 where it varies."""
        if signature.all_fixed:
            self.row_bytes = sum(
                prod(size for size in shape if size is not None) * dtype.itemsize
                for _, dtype, shape, _ in signature.checks
            )
        self._batch_rows = _most_rows(batch_rows, self.row_bytes)

    def insert(self, waiting: Waiting) -> None:
        """Puts a call behind those that are as urgent; plain ones are simply appended."""
        self.ranked = True
        at = bisect_right(self.waiting, _rank(waiting), key=_rank)
        self.waiting.insert(at, waiting)

    def drop_done(self) -> None:
        """Takes out the calls that nobody waits for any more, so that others may wait."""
        self.waiting = deque(one for one in self.waiting if not one.future.done())
        self.rows = sum(one.call.rows for one in self.waiting)

    def take(self) -> list[Waiting]:
        """Takes calls that may travel as one tensor: same trailing shapes, within the row limit."""
        calls: list[Waiting] = []
        rows = 0
        most = self._batch_rows
        shapes: list[tuple[int, ...]] | None = None
        waiting = self.waiting
        batched = self.signature.batched
        fixed = self.signature.all_fixed
        while waiting:
            call = waiting[0].call
            if waiting[0].future.done():
                self.rows -= call.rows
                waiting.popleft()
                continue
            if calls:
                if not batched:
                    break
                if not fixed:
                    if shapes is None:
                        shapes = _row_shapes(calls[0].call)
                        most = _most_rows(most, inputs_bytes(calls[0].call) // (rows or 1))
                    if _row_shapes(call) != shapes:
                        break
                if rows + call.rows > most:
                    break
            calls.append(waiting.popleft())
            rows += call.rows
        else:
            self.ranked = False
        self.rows -= rows
        return calls

    def bytes_of(self, calls: list[Waiting]) -> int:
        """About how many bytes of tensors calls of one frame have."""
        if self.row_bytes:
            if len(calls) == 1:
                return calls[0].call.rows * self.row_bytes
            return sum([waiting.call.rows for waiting in calls]) * self.row_bytes
        return sum([inputs_bytes(waiting.call) for waiting in calls])


class Flight:
    """One frame on its way: its lane and calls, and until when the host may take.

    That is the server's own limit, counted from when the frame left, where callers ask for less: a
    caller in a hurry must not have a host killed that works.
    """

    __slots__ = ("calls", "lane", "until")

    def __init__(self, lane: Lane, calls: list[Waiting], until: float):
        self.lane = lane
        self.calls = calls
        self.until = max(until, *[waiting.call.context.deadline for waiting in calls])


def inputs_bytes(call: InferCall) -> int:
    """About how many bytes a call's inputs have; of texts, 8 each."""
    return tensors_bytes(call.inputs)


def tensors_bytes(tensors: Mapping[str, np.ndarray]) -> int:
    """About how many bytes tensors have; of texts, 8 each."""
    return sum([array.nbytes for array in tensors.values()])


def _most_rows(batch_rows: int, row_bytes: int) -> int:
    """Rows of a batch, so that it does not have too many bytes either."""
    return min(batch_rows, max(1, MOST_PACKED // row_bytes)) if row_bytes else batch_rows


def _rank(waiting: Waiting) -> int:
    return priority_rank(waiting.call.context.priority)


def _row_shapes(call: InferCall) -> list[tuple[int, ...]]:
    inputs = call.inputs
    return [inputs[spec.name].shape[1:] for spec in call.signature.inputs]
