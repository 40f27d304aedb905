"""The batcher: calls of one version, from every ingress, become batches beside the device.

```
connections ─ put ─▶ queue ─ take all that wait ─▶ group by signature, shape ─▶ run ─▶ reply
```

It counts rows, not requests, and adds no delay: while the engine is busy frames gather, when it is
free they go. When a batch fails its calls run singly, so that one bad input fails alone. What has
expired or was cancelled is dropped before it runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from math import prod
from queue import SimpleQueue

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Servable
from maas.core.tensor import DType, Tensors
from maas.serving.frames import CallError, InferFrame, ReplyFrame, encode_frame, pack_tensors
from maas.telemetry.metrics import Metrics

MOST_EMPTY = 1 << 20
"""Places that an answer without elements may have: JSON writes brackets for each, and what writes
it would ask for their memory at once."""

log = logging.getLogger("maas.batcher")

Send = Callable[[bytes], None]


class Job:
    """One frame on its way through the batcher: its calls, and where the answer goes."""

    __slots__ = ("answered", "arrived", "cancelled", "frame", "inputs", "send")

    def __init__(self, frame: InferFrame, inputs: Tensors, send: Send, arrived: float):
        self.frame = frame
        self.inputs = inputs
        self.send = send
        self.arrived = arrived
        self.cancelled: set[int] = set()
        self.answered = False

    def answer(self, errors: list[CallError], outputs: Tensors | None) -> None:
        """Sends the reply: outputs of the calls that have one, in order, and errors."""
        self.answered = True
        try:
            metas, chunks = pack_tensors(outputs) if outputs is not None else ((), [])
        except ValueError as error:
            errors = [_call_error(index, error) for index in range(len(self.frame.rows))]
            metas, chunks = (), []
        reply = ReplyFrame(self.frame.id, True, tuple(errors), metas)
        self.send(encode_frame(reply, chunks))


class Batcher:
    """Runs one version's calls on a thread of its own.

    Args:
        name: the model's name, for the metrics.
        version: the model's version.
        servable: called from this thread only.
        batched: names of the signatures whose first axis is proven to be the batch axis.
        batch_rows: most rows in one run.
        metrics: where batches, rows and seconds are counted.
        clock: monotonic seconds.
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
    ):
        self._servable = servable
        self._batched = frozenset(batched)
        self._batch_rows = batch_rows
        self._clock = clock
        labels = (name, str(version))
        self._executions = metrics.counter("maas_batches_total", labels)
        self._rows = metrics.counter("maas_batch_rows_total", labels)
        self._infer = metrics.histogram("maas_infer_seconds", labels)
        self._queue_wait = metrics.histogram("maas_queue_seconds", labels)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"{name}:{version}", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Hands a frame over; its answer is sent from the batcher's thread."""
        self._jobs.put(job)

    def close(self) -> None:
        """Ends after what is waiting has been answered, and closes the servable."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            waiting = [self._jobs.get()]
            while not self._jobs.empty():
                waiting.append(self._jobs.get())
            jobs = [job for job in waiting if job is not None]
            closing = len(jobs) < len(waiting)
            for batch in self._batches(jobs):
                try:
                    self._run_batch(batch)
                except Exception as error:  # noqa: BLE001 - no answer may be lost, whatever failed
                    for job in batch:
                        if not job.answered:
                            calls = range(len(job.frame.rows))
                            job.answer([_call_error(index, error) for index in calls], None)
        self._servable.close()

    def _batches(self, jobs: list[Job]) -> Iterable[list[Job]]:
        """Groups frames that may run together, each group within the row limit."""
        groups: dict[object, list[Job]] = {}
        for job in jobs:
            signature = job.frame.signature
            if signature not in self._batched:
                yield [job]
                continue
            key = (signature, tuple(meta.shape[1:] for meta in job.frame.tensors))
            groups.setdefault(key, []).append(job)
        for group in groups.values():
            batch: list[Job] = []
            rows = 0
            for job in group:
                more = sum(job.frame.rows)
                if batch and rows + more > self._batch_rows:
                    yield batch
                    batch, rows = [], 0
                batch.append(job)
                rows += more
            yield batch

    def _run_batch(self, batch: list[Job]) -> None:
        started = self._clock()
        live = [job for job in batch if not self._drop_dead(job, started)]
        if not live:
            return
        for job in live:
            self._queue_wait.observe(started - job.arrived)
        try:
            if len(live) == 1:
                outputs = self._infer_once(live[0].frame.signature, live[0].inputs, live[0])
                live[0].answer([], outputs)
                return
            joined = {
                name: np.concatenate([job.inputs[name] for job in live]) for name in live[0].inputs
            }
            outputs = self._infer_once(live[0].frame.signature, joined, *live)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; each call is told
            self._run_singly(live, error)
            return
        at = 0
        for job in live:
            rows = sum(job.frame.rows)
            job.answer([], {name: array[at : at + rows] for name, array in outputs.items()})
            at += rows

    def _infer_once(self, signature: str, inputs: Tensors, *jobs: Job) -> Tensors:
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
        rows = sum(sum(job.frame.rows) for job in jobs)
        if signature in self._batched:
            for name, array in outputs.items():
                if array.shape[:1] != (rows,):
                    raise MaasError(
                        ErrorKind.INTERNAL,
                        f"the model answered {name!r} with shape {list(array.shape)} for {rows} "
                        "rows; its batch axis does not hold",
                    )
        self._infer.observe(self._clock() - started)
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
            one = InferFrame(
                frame.id, frame.name, frame.version, frame.signature, (rows,), (0.0,), ()
            )
            try:
                parts.append(
                    self._infer_once(
                        frame.signature, inputs, Job(one, inputs, job.send, job.arrived)
                    )
                )
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


def _expired(index: int) -> CallError:
    return CallError(
        index, ErrorKind.DEADLINE_EXCEEDED, "the call's deadline passed while it was waiting"
    )


def _call_error(index: int, error: Exception) -> CallError:
    if isinstance(error, MaasError):
        return CallError(index, error.kind, error.message)
    log.warning("the model failed on a call", exc_info=error)
    return CallError(
        index,
        ErrorKind.INTERNAL,
        f"the model failed on these values with {type(error).__name__}; its log has the details",
    )
