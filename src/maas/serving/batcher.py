"""The batcher: calls of one version, from every ingress, become batches beside the device.

```
connections ─ put ─▶ queue ─ the first, and what can run with it ─▶ run ─▶ reply
```

It counts rows, not requests, and adds no delay: while the engine is busy frames gather, when it is
free they go, the most urgent first. When a batch fails its calls run singly, so that one bad input
fails alone. What has expired or was cancelled is dropped before it runs. A frame in shared memory
runs by itself: it is large, and joining it with another would copy it once more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from math import prod
from queue import SimpleQueue

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import priority_rank
from maas.core.ports import Servable
from maas.core.tensor import DType, Tensors
from maas.serving.frames import CallError, InferFrame, ReplyFrame, encode_frame, pack_tensors
from maas.serving.segments import SHARED_FROM, SegmentPool, share_tensors
from maas.telemetry.batchsizes import BatchSizes
from maas.telemetry.metrics import Metrics

MOST_EMPTY = 1 << 20
"""Places that an answer without elements may have: JSON writes brackets for each, and what writes
it would ask for their memory at once."""

log = logging.getLogger("maas.batcher")

Send = Callable[[bytes], None]


class Job:
    """One frame on its way through the batcher: its calls, and where the answer goes.

    Args:
        frame: the calls.
        inputs: theirs, joined.
        send: sends the reply.
        arrived: when it came.
        pool: shared memory for large outputs.
    """

    __slots__ = ("answered", "arrived", "cancelled", "frame", "inputs", "pool", "send")

    def __init__(
        self,
        frame: InferFrame,
        inputs: Tensors,
        send: Send,
        arrived: float,
        pool: SegmentPool,
    ):
        self.frame = frame
        self.inputs = inputs
        self.send = send
        self.arrived = arrived
        self.pool = pool
        self.cancelled: set[int] = set()
        self.answered = False

    def answer(self, errors: list[CallError], outputs: Tensors | None) -> None:
        """Sends the reply: outputs of the calls that have one, in order, and errors."""
        self.answered = True
        try:
            data = self._encode(errors, outputs or {})
        except ValueError as error:
            data = self._encode([_call_error(n, error) for n in range(len(self.frame.rows))], {})
        self.send(data)

    def _encode(self, errors: list[CallError], outputs: Tensors) -> bytes:
        shared = None
        if sum([array.nbytes for array in outputs.values()]) >= SHARED_FROM:
            parts = {name: (array,) for name, array in outputs.items()}
            shared = share_tensors(parts, self.pool)
        if shared is not None:
            return encode_frame(ReplyFrame(self.frame.id, True, tuple(errors), *shared))
        metas, chunks = pack_tensors(outputs)
        return encode_frame(ReplyFrame(self.frame.id, True, tuple(errors), metas), chunks)


class Batcher:
    """Runs one version's calls on a thread of its own, or on several.

    Args:
        name: the model's name, for the metrics.
        version: the model's version.
        servable: called from these threads only, and closed on the one that calls `close`.
        batched: names of the signatures whose first axis is proven to be the batch axis.
        batch_rows: most rows in one run.
        metrics: where batches, rows and seconds are counted.
        clock: monotonic seconds.
        concurrency: how many runs there may be at once.
    """

    def __init__(
        self,
        name: str,
        version: int,
        servable: Servable,
        batched: Iterable[str],
        batch_rows: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        concurrency: int = 1,
    ):
        self._servable = servable
        self._batched = frozenset(batched)
        self._batch_rows = batch_rows
        self._clock = clock
        labels = (name, str(version))
        self._executions = metrics.counter("maas_batches_total", labels)
        self._rows = metrics.counter("maas_batch_rows_total", labels)
        self._infer = metrics.histogram("maas_infer_seconds", labels)
        self._by_rows = BatchSizes(metrics, name, version)
        self._queue_wait = metrics.histogram("maas_queue_seconds", labels)
        self._counting = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._taking = threading.Lock()
        """Held by the one thread that takes what has come, and waits for it."""
        self._pending: deque[Job] = deque()
        self._ranked = False
        """Whether a job with a priority of its own has come."""
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}:{version}", daemon=True)
            for _ in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """Hands a frame over; its answer is sent from one of the batcher's threads."""
        if job.frame.priority:
            self._ranked = True
        self._jobs.put(job)

    def close(self) -> None:
        """Ends after what is waiting has been answered, and closes the servable."""
        self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._servable.close()

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._run_batch(batch)
            except Exception as error:  # noqa: BLE001 - no answer may be lost, whatever failed
                for job in batch:
                    if not job.answered:
                        calls = range(len(job.frame.rows))
                        job.answer([_call_error(index, error) for index in calls], None)

    def _take(self) -> list[Job]:
        """Waits for jobs and takes those that run next; none once it closes."""
        with self._taking:
            while not self._closing and (not self._pending or not self._jobs.empty()):
                job = self._jobs.get()
                if job is None:
                    self._closing = True
                else:
                    self._pending.append(job)
            if self._ranked:
                self._pending = deque(sorted(self._pending, key=_rank))
            return self._next_batch()

    def _next_batch(self) -> list[Job]:
        """The first that waits, and those after it that may run with it within the row limit."""
        pending = self._pending
        if not pending:
            return []
        batch = [pending.popleft()]
        key = self._batch_key(batch[0])
        if key is None or not pending:
            return batch
        rows = sum(batch[0].frame.rows)
        others: deque[Job] = deque()
        while pending:
            if self._batch_key(pending[0]) == key:
                rows += sum(pending[0].frame.rows)
                if rows > self._batch_rows:
                    break
                batch.append(pending.popleft())
            else:
                others.append(pending.popleft())
        others.extend(pending)
        self._pending = others
        return batch

    def _batch_key(self, job: Job) -> object:
        """Equal for frames whose rows may run together; None for one that runs by itself."""
        frame = job.frame
        if frame.signature not in self._batched or frame.place is not None:
            return None
        return frame.signature, [meta.shape[1:] for meta in frame.tensors]

    def _run_batch(self, batch: list[Job]) -> None:
        started = self._clock()
        live = [job for job in batch if not self._drop_dead(job, started)]
        if not live:
            return
        with self._counting:
            for job in live:
                self._queue_wait.observe(started - job.arrived)
        try:
            if len(live) == 1:
                frame = live[0].frame
                outputs = self._infer_once(frame.signature, live[0].inputs, sum(frame.rows))
                live[0].answer([], outputs)
                return
            joined = {
                name: np.concatenate([job.inputs[name] for job in live]) for name in live[0].inputs
            }
            rows = sum([sum(job.frame.rows) for job in live])
            outputs = self._infer_once(live[0].frame.signature, joined, rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; each call is told
            self._run_singly(live, error)
            return
        at = 0
        for job in live:
            rows = sum(job.frame.rows)
            job.answer([], {name: array[at : at + rows] for name, array in outputs.items()})
            at += rows

    def _infer_once(self, signature: str, inputs: Tensors, rows: int) -> Tensors:
        started = self._clock()
        outputs = self._servable.infer(signature, inputs)
        for name, array in outputs.items():
            DType.of(array.dtype)  # what no protocol can carry fails here, and so alone
            if not array.size and prod(max(size, 1) for size in array.shape) > MOST_EMPTY:
                raise MaasError(
                    ErrorKind.INTERNAL,
                    f"the model answered {name!r} with shape {list(array.shape)}, which holds "
                    "nothing and yet cannot be written out",
                )
        if signature in self._batched:
            for name, array in outputs.items():
                if array.shape[:1] != (rows,):
                    raise MaasError(
                        ErrorKind.INTERNAL,
                        f"the model answered {name!r} with shape {list(array.shape)} for {rows} "
                        "rows; its batch axis does not hold",
                    )
        took = self._clock() - started
        with self._counting:
            self._infer.observe(took)
            self._by_rows.observe(rows, took)
            self._executions.add(1)
            self._rows.add(rows)
        return outputs

    def _drop_dead(self, job: Job, now: float) -> bool:
        """Answers a frame of which no call is waited for any more; says whether it did."""
        frame = job.frame
        dead = [
            index
            for index, deadline in enumerate(frame.deadlines)
            if deadline <= now or index in job.cancelled
        ]
        if not dead:
            return False
        if len(dead) < len(frame.rows):
            # Some are alive: their rows are taken out and run without the rest.
            self._run_alone(job, skip=frozenset(dead))
        else:
            job.answer([_expired(index) for index in dead], None)
        return True

    def _run_singly(self, jobs: list[Job], error: Exception) -> None:
        if len(jobs) == 1 and len(jobs[0].frame.rows) == 1:
            jobs[0].answer([_call_error(0, error)], None)
            return
        log.info("a batch of %d frames failed and runs call by call: %s", len(jobs), error)
        for job in jobs:
            self._run_alone(job, skip=frozenset())

    def _run_alone(self, job: Job, skip: frozenset[int]) -> None:
        """Runs a frame call by call, leaving out those in `skip`."""
        errors: list[CallError] = []
        parts: list[Tensors] = []
        frame = job.frame
        at = 0
        for index, rows in enumerate(frame.rows):
            inputs = (
                {name: array[at : at + rows] for name, array in job.inputs.items()}
                if frame.signature in self._batched
                else job.inputs
            )
            at += rows
            if index in skip or frame.deadlines[index] <= self._clock():
                errors.append(_expired(index))
                continue
            try:
                parts.append(self._infer_once(frame.signature, inputs, rows))
            except Exception as error:  # noqa: BLE001 - as above
                errors.append(_call_error(index, error))
        outputs = (
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            if len(parts) > 1
            else parts[0]
            if parts
            else None
        )
        job.answer(errors, outputs)


def _rank(job: Job) -> int:
    return priority_rank(job.frame.priority)


def _expired(index: int) -> CallError:
    return CallError(
        index, ErrorKind.DEADLINE_EXCEEDED, "the call's deadline passed while it was waiting"
    )


def _call_error(index: int, error: Exception) -> CallError:
    if isinstance(error, MaasError):
        return CallError(index, error.kind, error.message, error.retry_after_s)
    log.warning("the model failed on a call", exc_info=error)
    return CallError(
        index,
        ErrorKind.INTERNAL,
        f"the model failed on these values with {type(error).__name__}; its log has the details",
    )
