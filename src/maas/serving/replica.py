"""An ingress's side of one host: waiting calls are packed into frames, answers unpacked.

```
infer ─▶ lane (version, signature) ─ one flush a loop tick ─▶ frame ─▶ host
future ◀─ rows of the call ◀──────────── data_received ◀───── frame ◀─┘
```
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import InferCall, InferReply
from maas.core.signature import Signature
from maas.serving.frames import (
    PREFIX,
    CallError,
    CancelFrame,
    InferFrame,
    ReplyFrame,
    decode_header,
    encode_frame,
    pack_tensors,
    unpack_tensors,
)
from maas.settings import ServingSettings

SWEEP_S = 0.02


class ReplicaLostError(Exception):
    """The host went away, or does not hold the version, before it answered."""


class Waiting:
    """One call that waits for its answer."""

    __slots__ = ("call", "dropped", "future")

    def __init__(self, call: InferCall, future: asyncio.Future[InferReply]):
        self.call = call
        self.future = future
        self.dropped = False
        """Whether the host has been told that nobody waits for it any more."""


class Lane:
    """Calls for one signature of one version: those waiting, and how many frames are under way."""

    __slots__ = ("frames", "limit", "rows", "scheduled", "signature", "waiting")

    def __init__(self, signature: Signature, limit: int):
        self.signature = signature
        self.limit = limit
        self.waiting: deque[Waiting] = deque()
        self.rows = 0
        self.frames = 0
        self.scheduled = False


class Flight:
    """One frame on its way: its lane and calls."""

    __slots__ = ("calls", "lane")

    def __init__(self, lane: Lane, calls: list[Waiting]):
        self.lane = lane
        self.calls = calls


class HostReplica(asyncio.Protocol):
    """One connection to one host. Lives on the ingress's event loop.

    Args:
        settings: frames under way and rows in a frame.
        waiting_rows: rows that may wait in one lane.
        lost: called once with the replica when the connection is gone.
        overdue: called with (model, version) when a frame is a grace past its calls' deadlines.
    """

    def __init__(
        self,
        settings: ServingSettings,
        waiting_rows: int,
        lost: Callable[[HostReplica, tuple[tuple[str, int], ...]], None],
        overdue: Callable[[HostReplica, str, int], None],
    ):
        self._settings = settings
        self._waiting_rows = waiting_rows
        self._lost = lost
        self._overdue = overdue
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[tuple[str, int, str], Lane] = {}
        self._flights: dict[int, Flight] = {}
        self._next = 0
        self._buffer = bytearray()
        self._sweeping = False
        self.connected = False
        self.life = ""
        """Which host in which incarnation; set by who connects."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The host is there, which means that it has loaded what it could."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)
        self.connected = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Every call under way or waiting is told; the router may send it elsewhere."""
        self.connected = False
        in_flight = {
            (call.call.servable.name, call.call.servable.version)
            for flight in self._flights.values()
            for call in flight.calls
        }
        waiting = [call for flight in self._flights.values() for call in flight.calls]
        waiting += [call for lane in self._lanes.values() for call in lane.waiting]
        self._flights.clear()
        self._lanes.clear()
        for call in waiting:
            if not call.future.done():
                call.future.set_exception(ReplicaLostError())
        self._lost(self, tuple(sorted(in_flight)))

    def close_when_idle(self) -> None:
        """Closes once no call waits for an answer here."""
        if self._busy:
            self._loop.call_later(SWEEP_S, self.close_when_idle)
        elif self.connected:
            self._transport.close()

    @property
    def _busy(self) -> bool:
        return bool(self._flights) or any(lane.waiting for lane in self._lanes.values())

    def works_on(self, name: str, version: int) -> bool:
        """Whether calls of that version wait for an answer here."""
        return any(
            lane.waiting or lane.frames
            for key, lane in self._lanes.items()
            if key[:2] == (name, version)
        )

    def infer(self, call: InferCall) -> asyncio.Future[InferReply]:
        """Queues a call; it leaves with its neighbours at the end of this loop tick.

        Raises:
            MaasError: RESOURCE_EXHAUSTED where too many rows wait already.
        """
        servable = call.servable
        key = (servable.name, servable.version, call.signature.name)
        lane = self._lanes.get(key)
        if lane is None:
            limit = (
                self._settings.frames if call.signature.batched else self._settings.single_frames
            )
            lane = self._lanes[key] = Lane(call.signature, limit)
        if lane.rows + call.rows > self._waiting_rows and lane.waiting:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED,
                f"{lane.rows} rows are waiting for {servable}; try again in a second",
                retry_after_s=1.0,
            )
        future = self._loop.create_future()
        lane.waiting.append(Waiting(call, future))
        lane.rows += call.rows
        if not lane.scheduled and lane.frames < lane.limit:
            lane.scheduled = True
            self._loop.call_soon(self._flush, lane)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)
        return future

    def _flush(self, lane: Lane) -> None:
        lane.scheduled = False
        while lane.waiting and lane.frames < lane.limit:
            calls = self._take(lane)
            if calls:
                self._send(lane, calls)
            if lane.signature.batched:
                # One frame a tick: what is left gathers until an answer frees the way.
                break

    def _take(self, lane: Lane) -> list[Waiting]:
        """Takes calls that may travel as one tensor: same trailing shapes, within the row limit."""
        calls: list[Waiting] = []
        rows = 0
        shapes: list[tuple[int, ...]] | None = None
        waiting = lane.waiting
        fixed = lane.signature.all_fixed
        while waiting:
            call = waiting[0].call
            if waiting[0].future.done():
                lane.rows -= call.rows
                waiting.popleft()
                continue
            if calls:
                if not lane.signature.batched or rows + call.rows > self._settings.batch_rows:
                    break
                if not fixed:
                    if shapes is None:
                        shapes = _row_shapes(calls[0].call)
                    if _row_shapes(call) != shapes:
                        break
            calls.append(waiting.popleft())
            rows += call.rows
        lane.rows -= rows
        return calls

    def _send(self, lane: Lane, calls: list[Waiting]) -> None:
        first = calls[0].call
        if len(calls) == 1:
            inputs = first.inputs
        else:
            inputs = {
                spec.name: np.concatenate([waiting.call.inputs[spec.name] for waiting in calls])
                for spec in lane.signature.inputs
            }
        metas, chunks = pack_tensors(inputs)
        self._next += 1
        frame = InferFrame(
            self._next,
            first.servable.name,
            first.servable.version,
            lane.signature.name,
            tuple([waiting.call.rows for waiting in calls]),
            tuple([waiting.call.context.deadline for waiting in calls]),
            metas,
        )
        self._flights[self._next] = Flight(lane, calls)
        lane.frames += 1
        self._transport.write(encode_frame(frame, chunks))

    def data_received(self, data: bytes) -> None:
        """Takes frames apart and answers the calls they hold."""
        buffer = self._buffer
        buffer += data
        at, end = 0, len(buffer)
        while end - at >= PREFIX.size:
            head_size, size = PREFIX.unpack_from(buffer, at)
            body = at + PREFIX.size + head_size
            if end < body + size:
                break
            header = decode_header(bytes(buffer[at + PREFIX.size : body]))
            assert isinstance(header, ReplyFrame)
            self._answer(header, bytes(buffer[body : body + size]))
            at = body + size
        if at:
            del buffer[:at]

    def _answer(self, reply: ReplyFrame, data: bytes) -> None:
        flight = self._flights.pop(reply.id, None)
        if flight is None:
            return
        lane = flight.lane
        lane.frames -= 1
        self._wake(lane)
        if not reply.loaded:
            for waiting in flight.calls:
                if not waiting.future.done():
                    waiting.future.set_exception(ReplicaLostError())
            return
        outputs = unpack_tensors(reply.tensors, data)
        if len(flight.calls) == 1 and not reply.errors:
            _resolve(flight.calls[0], outputs)
            return
        errors = {error.index: error for error in reply.errors} if reply.errors else None
        at = 0
        for index, waiting in enumerate(flight.calls):
            if errors is not None and index in errors:
                _fail(waiting, errors[index])
                continue
            until = at + waiting.call.rows
            _resolve(waiting, {name: array[at:until] for name, array in outputs.items()})
            at = until

    def _wake(self, lane: Lane) -> None:
        """Lets what waits go, now that a frame is back."""
        if lane.waiting and not lane.scheduled:
            lane.scheduled = True
            self._loop.call_soon(self._flush, lane)

    def _sweep(self) -> None:
        """Answers calls past their deadline, tells the host, and reports a host that hangs."""
        now = time.monotonic()
        for frame_id, flight in list(self._flights.items()):
            for index, waiting in enumerate(flight.calls):
                if not waiting.future.done() and waiting.call.context.deadline <= now:
                    _expire(waiting)
                if waiting.future.done() and not waiting.dropped:
                    waiting.dropped = True
                    self._transport.write(encode_frame(CancelFrame(frame_id, index)))
            if all(
                waiting.call.context.deadline + self._settings.grace_s <= now
                for waiting in flight.calls
            ):
                servable = flight.calls[0].call.servable
                del self._flights[frame_id]
                flight.lane.frames -= 1
                self._wake(flight.lane)
                self._overdue(self, servable.name, servable.version)
        for lane in self._lanes.values():
            for waiting in lane.waiting:
                if not waiting.future.done() and waiting.call.context.deadline <= now:
                    _expire(waiting)
        self._sweeping = self._busy
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)


def _row_shapes(call: InferCall) -> list[tuple[int, ...]]:
    inputs = call.inputs
    return [inputs[spec.name].shape[1:] for spec in call.signature.inputs]


def _resolve(waiting: Waiting, outputs: dict[str, np.ndarray]) -> None:
    if waiting.future.done():
        return
    call = waiting.call
    if call.outputs is not None:
        outputs = {name: outputs[name] for name in call.outputs}
    waiting.future.set_result(InferReply(call.servable, call.signature, outputs))


def _fail(waiting: Waiting, error: CallError) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(MaasError(error.kind, error.message))


def _expire(waiting: Waiting) -> None:
    waiting.future.set_exception(
        MaasError(
            ErrorKind.DEADLINE_EXCEEDED,
            f"{waiting.call.servable} did not answer before the call's deadline",
        )
    )
