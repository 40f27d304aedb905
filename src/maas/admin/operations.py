"""Records of jobs: their events as they happen, their end, and who follows them.

Lives on one event loop; a job's thread reports through `Reporter.emit`, which hands over to it.
Kept in memory: a job does not outlive the process that runs it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator

import msgspec

from maas.core.errors import ErrorKind, MaasError, not_found
from maas.core.records import ErrorBody, Operation, OperationEvent, OperationState, VersionRecord

KEPT = 1000
"""Operations remembered after their end."""

MAX_EVENTS = 1000
"""Steps kept of one job; what comes after, its end aside, is not recorded."""

MAX_MESSAGE = 1000
"""Characters kept of one step's message."""


class Reporter:
    """One job's own end of its record.

    Args:
        model: the model it is about.
    """

    def __init__(self, model: str):
        self._operation = Operation(secrets.token_hex(12), OperationState.RUNNING, model)
        self._events: list[OperationEvent] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    @property
    def id(self) -> str:
        """The operation's id: unguessable, and nothing but letters and digits."""
        return self._operation.id

    @property
    def finished(self) -> bool:
        """Whether the job has ended."""
        return self._operation.state is not OperationState.RUNNING

    def snapshot(self) -> Operation:
        """The operation as it stands."""
        return msgspec.structs.replace(self._operation, events=tuple(self._events))

    def emit(self, stage: str, message: str, fraction: float) -> None:
        """Records a step; may be called from any thread."""
        self._loop.call_soon_threadsafe(self.step, stage, message, fraction)

    def step(self, stage: str, message: str, fraction: float) -> None:
        """Records a step, on the loop."""
        if not self.finished and len(self._events) < MAX_EVENTS:
            self._append(stage, message, fraction)

    def succeed(self, version: VersionRecord, created: bool, message: str) -> None:
        """Ends the job well."""
        self._append("done", message, 1.0)
        self._end(OperationState.SUCCEEDED, version=version, created=created)

    def fail(
        self, error: MaasError, request_id: str, version: VersionRecord | None, created: bool
    ) -> None:
        """Ends the job with an error; `version` is what is stored all the same, if anything."""
        self._append("failed", error.message, 1.0)
        body = ErrorBody(error.kind.value, error.message, request_id)
        self._end(OperationState.FAILED, version=version, created=created, error=body)

    async def follow(self, after: int, heartbeat_s: float) -> AsyncIterator[OperationEvent | None]:
        """Yields the steps numbered above `after` as they come, and ends when the job has.

        Args:
            after: sequence of the last step that the listener has; 0 for none.
            heartbeat_s: after so long without a step, yields None.
        """
        while True:
            changed = self._changed
            for event in self._events[max(after, 0) :]:
                after = event.sequence
                yield event
            if self.finished:
                return
            if changed.is_set():
                continue
            try:
                async with asyncio.timeout(heartbeat_s):
                    await changed.wait()
            except TimeoutError:
                yield None

    def _append(self, stage: str, message: str, fraction: float) -> None:
        sequence = len(self._events) + 1
        last = self._events[-1].fraction if self._events else 0.0
        # A bar that goes back is worse than one that waits.
        fraction = max(last, min(fraction, 1.0))
        self._events.append(OperationEvent(sequence, stage, message[:MAX_MESSAGE], fraction))
        self._wake()

    def _end(
        self,
        state: OperationState,
        *,
        version: VersionRecord | None,
        created: bool,
        error: ErrorBody | None = None,
    ) -> None:
        self._operation = msgspec.structs.replace(
            self._operation, state=state, version=version, created=created, error=error
        )
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Operations:
    """All jobs there are, and the last `kept` that have ended.

    Args:
        kept: how many ended ones to remember.
        unfinished: most jobs under way or waiting at once.
    """

    def __init__(self, kept: int = KEPT, unfinished: int = 64):
        self._kept = kept
        self._unfinished = unfinished
        self._reporters: OrderedDict[str, Reporter] = OrderedDict()

    def begin(self, model: str) -> Reporter:
        """Records a new job.

        Raises:
            MaasError: RESOURCE_EXHAUSTED, if too many are under way.
        """
        running = sum(not reporter.finished for reporter in self._reporters.values())
        if running >= self._unfinished:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED,
                f"{running} publish jobs are under way already; wait for one of them to end",
                retry_after_s=10.0,
            )
        reporter = Reporter(model)
        self._reporters[reporter.id] = reporter
        ended = [key for key, value in self._reporters.items() if value.finished]
        for key in ended[: max(0, len(ended) - self._kept)]:
            del self._reporters[key]
        return reporter

    def forget(self, reporter: Reporter) -> None:
        """Drops a job that never started."""
        self._reporters.pop(reporter.id, None)

    def get(self, operation_id: str) -> Reporter | None:
        """The record of a job, if it is still there."""
        return self._reporters.get(operation_id)

    def find(self, operation_id: str) -> Reporter:
        """The record of a job.

        Raises:
            MaasError: NOT_FOUND.
        """
        found = self._reporters.get(operation_id)
        if found is None:
            raise not_found(
                f"there is no operation {operation_id[:40]!r}; operations are kept until the "
                f"server restarts, the last {self._kept} after they end"
            )
        return found
