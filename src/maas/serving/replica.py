"""An ingress's side of one host: waiting calls are packed into frames, answers unpacked.

```
infer ─▶ lane (version, signature) ─ one flush a loop tick ─▶ frame ─▶ host
future ◀─ rows of the call ◀──────────── data_received ◀───── frame ◀─┘
```
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import cast

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import GenerateCall, InferCall, InferReply
from maas.serving.frames import (
    PREFIX,
    CancelFrame,
    DeltasFrame,
    IdleFrame,
    InferFrame,
    ReplyFrame,
    UnseenFrame,
    decode_header,
    encode_frame,
    pack_tensors,
    unpack_tensors,
)
from maas.serving.lane import Flight, Lane, Waiting
from maas.serving.segments import SHARED_FROM, Budget
from maas.serving.sharing import Sharing
from maas.serving.streams import ReplicaLostError, Stream, Streams
from maas.settings import ServingSettings

SWEEP_S = 0.02
LONGEST_PATIENCE = 50
"""Sweeps after which the caller of a call that waits is looked for again, at the latest."""
MOST_ASKED = 16
"""Callers looked for in one sweep; each costs some 50 µs, and a full house must not pay more."""

HasGone = Callable[[object], Awaitable[bool]]
"""Waits for news of a `CallContext.caller`: whether it has gone."""


class HostReplica(asyncio.Protocol):
    """One connection to one host. Lives on the ingress's event loop.

    Args:
        settings: frames under way and rows in a frame.
        waiting_rows: rows that may wait in one lane.
        call_s: how long the host may take for a call, whatever less its caller asks for.
        lost: called once with the replica when the connection is gone.
        overdue: called with (model, version) when a frame is a grace past its calls' deadlines and
            `call_s`.
        budget: shared memory that may be held for inputs.
        has_gone: says whether a caller has; None where that cannot be known.
    """

    def __init__(
        self,
        settings: ServingSettings,
        waiting_rows: int,
        call_s: float,
        lost: Callable[[HostReplica, tuple[tuple[str, int], ...]], None],
        overdue: Callable[[HostReplica, str, int], None],
        budget: Budget,
        has_gone: HasGone | None = None,
    ):
        self._settings = settings
        self._waiting_rows = waiting_rows
        self._call_s = call_s
        self._lost = lost
        self._overdue = overdue
        self._has_gone = has_gone
        self._loop = asyncio.get_running_loop()
        self._sharing = Sharing(budget, self._loop)
        self._lanes: dict[tuple[str, int, str], Lane] = {}
        self._flights: dict[int, Flight] = {}
        self._next = 0
        self._buffer = bytearray()
        self._sweeping = False
        self._may_ask = MOST_ASKED
        self.connected = False
        self.life = ""
        """Which host in which incarnation; set by who connects."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The host is there, which means that it has loaded what it could."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._sharing.connect(self._transport)
        self.streams = Streams(self._transport.write)
        self.connected = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Every call under way or waiting is told; the router may send it elsewhere."""
        self.connected = False
        self._sharing.disconnect()
        in_flight = {
            (call.call.servable.name, call.call.servable.version)
            for flight in self._flights.values()
            for call in flight.calls
        }
        in_flight |= self.streams.lose()
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
        if self._busy or self.streams:
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

    def generate(self, call: GenerateCall) -> Stream:
        """Sends a call of a language model; close the stream that it gives.

        Raises:
            MaasError: TOO_LARGE.
        """
        self._next += 1
        return self.streams.open(self._next, call)

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
            lane = self._lanes[key] = Lane(call.signature, limit, self._settings.batch_rows)
        if lane.rows + call.rows > self._waiting_rows and lane.waiting:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED,
                f"{lane.rows} rows are waiting for {servable}; try again in a second",
                retry_after_s=1.0,
            )
        future = self._loop.create_future()
        waiting = Waiting(call, future)
        if call.context.priority or lane.ranked:
            lane.insert(waiting)
        else:
            lane.waiting.append(waiting)
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
            calls = lane.take()
            if calls:
                self._send(lane, calls)
            if lane.signature.batched:
                # One frame a tick: what is left gathers until an answer frees the way.
                break

    def _send(self, lane: Lane, calls: list[Waiting]) -> None:
        first = calls[0].call
        self._next += 1
        place = shared = None
        chunks: list[bytes | memoryview] = []
        if lane.bytes_of(calls) >= SHARED_FROM:
            inputs_of = [waiting.call.inputs for waiting in calls]
            shared = self._sharing.put(
                self._next,
                {
                    spec.name: [one[spec.name] for one in inputs_of]
                    for spec in lane.signature.inputs
                },
            )
        if shared is not None:
            metas, place = shared
        else:
            if len(calls) == 1:
                inputs = first.inputs
            else:
                inputs = {
                    spec.name: np.concatenate([waiting.call.inputs[spec.name] for waiting in calls])
                    for spec in lane.signature.inputs
                }
            metas, chunks = pack_tensors(inputs)
        frame = InferFrame(
            self._next,
            first.servable.name,
            first.servable.version,
            lane.signature.name,
            tuple([waiting.call.rows for waiting in calls]),
            tuple([waiting.call.context.deadline for waiting in calls]),
            metas,
            place,
            first.context.priority,
        )
        try:
            data = encode_frame(frame, chunks)
        except ValueError as error:
            for waiting in calls:
                _fail(waiting, MaasError(ErrorKind.TOO_LARGE, f"the inputs are too large: {error}"))
            return
        self._flights[frame.id] = Flight(lane, calls, time.monotonic() + self._call_s)
        lane.frames += 1
        self._transport.write(data)

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
            if type(header) is ReplyFrame:
                self._answer(header, bytes(buffer[body : body + size]))
            elif type(header) is DeltasFrame:
                self.streams.take(header)
            elif isinstance(header, UnseenFrame):
                self._sharing.refuse(header.id)
                self._lose(header.id)
            else:
                assert isinstance(header, IdleFrame)
                self._sharing.drop(header.segments)
            at = body + size
        if at:
            del buffer[:at]

    def _answer(self, reply: ReplyFrame, data: bytes | memoryview | None) -> None:
        if self._sharing.lent:
            self._sharing.take_back(reply.id)
        if reply.place is not None:
            data = self._sharing.outputs(reply.place)
        if not reply.loaded or data is None:
            self._lose(reply.id)
            return
        flight = self._land(reply.id)
        if flight is None:
            return
        outputs = unpack_tensors(reply.tensors, data)
        if len(flight.calls) == 1 and not reply.errors:
            _resolve(flight.calls[0], outputs)
            return
        errors = {error.index: error for error in reply.errors} if reply.errors else None
        at = 0
        for index, waiting in enumerate(flight.calls):
            if errors is not None and index in errors:
                error = errors[index]
                _fail(waiting, error.as_error())
                continue
            until = at + waiting.call.rows
            _resolve(waiting, {name: array[at:until] for name, array in outputs.items()})
            at = until

    def _land(self, frame_id: int) -> Flight | None:
        """A frame is back, and the next may go; None where nobody waits for it any more."""
        flight = self._flights.pop(frame_id, None)
        if flight is not None:
            flight.lane.frames -= 1
            self._wake(flight.lane)
        return flight

    def _lose(self, frame_id: int) -> None:
        """The calls of that frame have no answer, and may be made again."""
        flight = self._land(frame_id)
        for waiting in flight.calls if flight is not None else ():
            _fail(waiting, ReplicaLostError())

    def _wake(self, lane: Lane) -> None:
        """Lets what waits go, now that a frame is back."""
        if lane.waiting and not lane.scheduled:
            lane.scheduled = True
            self._loop.call_soon(self._flush, lane)

    def _ask(self, waiting: Waiting) -> None:
        """Looks for the caller of a call that waits; where it has gone the call is dropped.

        Nothing for a call that is answered soon; ever less often for one that is not.
        """
        waiting.sweeps += 1
        if waiting.sweeps < waiting.patience or not self._may_ask:
            return
        caller = waiting.call.context.caller
        if self._has_gone is None or caller is None:
            return
        if waiting.asked is None or waiting.asked.done():
            waiting.sweeps = 0
            waiting.patience = min(2 * waiting.patience, LONGEST_PATIENCE)
            self._may_ask -= 1
            waiting.asked = asyncio.ensure_future(self._has_gone(caller))
            waiting.asked.add_done_callback(lambda asked: _heard(waiting, asked))

    def _sweep(self) -> None:
        """Answers calls past their deadline, tells the host, and reports a host that hangs."""
        now = time.monotonic()
        self._may_ask = MOST_ASKED
        for frame_id, flight in list(self._flights.items()):
            for index, waiting in enumerate(flight.calls):
                if not waiting.future.done():
                    if waiting.call.context.deadline <= now:
                        _expire(waiting)
                    else:
                        self._ask(waiting)
                if waiting.future.done() and not waiting.dropped:
                    waiting.dropped = True
                    self._transport.write(encode_frame(CancelFrame(frame_id, index)))
            if flight.until + self._settings.grace_s <= now:
                servable = flight.calls[0].call.servable
                self._land(frame_id)
                self._overdue(self, servable.name, servable.version)
        for lane in self._lanes.values():
            over = False
            for waiting in lane.waiting:
                if waiting.future.done():
                    over = True
                elif waiting.call.context.deadline <= now:
                    _expire(waiting)
                    over = True
                else:
                    self._ask(waiting)
            if over:
                lane.drop_done()
        self._sweeping = self._busy
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)


def _resolve(waiting: Waiting, outputs: dict[str, np.ndarray]) -> None:
    if waiting.future.done():
        return
    call = waiting.call
    if call.outputs is not None:
        outputs = {name: outputs[name] for name in call.outputs}
    waiting.future.set_result(InferReply(call.servable, call.signature, outputs))


def _fail(waiting: Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


def _heard(waiting: Waiting, asked: asyncio.Future[bool]) -> None:
    if not asked.cancelled() and asked.exception() is None and asked.result():
        _fail(waiting, MaasError(ErrorKind.CANCELLED, "the client went away"))


def _expire(waiting: Waiting) -> None:
    _fail(
        waiting,
        MaasError(
            ErrorKind.DEADLINE_EXCEEDED,
            f"{waiting.call.servable} did not answer before the call's deadline",
        ),
    )
