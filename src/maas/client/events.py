"""Server-sent events of a publish job, and the lines of a log; both sans-I/O.

The format of event streams: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from msgspec import Struct

from maas.client.call import opaque, reader, segment
from maas.client.errors import ServerUnreachable
from maas.core.errors import invalid
from maas.core.records import Operation, OperationEvent

MOST_PENDING = 16 << 20
"""Characters of one unfinished line at which a stream is given up."""

MOST_FAILURES = 5
"""Connections lost in a row, without an event between them, after which a job is given up."""

_STEP = reader(OperationEvent)
_OPERATION = reader(Operation)


class StreamLines:
    """Splits a stream of bytes into its lines, whatever the chunks."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yields the lines that a chunk completes, without their ends.

        Raises:
            ServerUnreachable: a line without end.
        """
        self._rest += self._decoder.decode(chunk)
        *lines, self._rest = self._rest.split("\n")
        if len(self._rest) > MOST_PENDING:
            raise ServerUnreachable("the answer is a line without end; check that the URL is right")
        for line in lines:
            yield line.removesuffix("\r")


class JobStream:
    """Follows `GET /api/operations/ID/events` over as many connections as it takes.

    Feed it the bytes of each connection; `operation` is set once the job has ended.

    Args:
        operation_id: the job's id.
    """

    def __init__(self, operation_id: str) -> None:
        self.path = f"/api/operations/{opaque(operation_id, 'operation id')}/events"
        self.operation: Operation | None = None
        self._last_id = ""
        self._sequence = -1
        self._failures = 0
        self.begin()

    def begin(self) -> None:
        """Forgets what an earlier connection left unfinished."""
        self._lines = StreamLines()
        self._event = ""
        self._data: list[str] = []
        self._id = self._last_id

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the next connection: it goes on after the last event that arrived."""
        resume = {"Last-Event-ID": self._last_id} if self._last_id else {}
        return {"Accept": "text/event-stream", **resume}

    def feed(self, chunk: bytes) -> Iterator[OperationEvent]:
        """Yields the steps that a chunk completes, each once even where the server repeats it."""
        for line in self._lines.feed(chunk):
            if line:
                self._field(line)
                continue
            event, data = self._event, "\n".join(self._data)
            self._event, self._data, self._last_id = "", [], self._id
            if not data:
                continue
            self._failures = 0
            if event == "done":
                self.operation = _OPERATION(data.encode())
                return
            if event == "step":
                step = _STEP(data.encode())
                if step.sequence > self._sequence:
                    self._sequence = step.sequence
                    yield step

    def lost(self, reason: str | None) -> float:
        """Says how many seconds to wait before connecting again.

        Args:
            reason: why the connection ended; None where it only was silent for long.

        Raises:
            ServerUnreachable: it was lost too often.
        """
        if reason is None:
            self.begin()
            return 0.0
        self._failures += 1
        if self._failures > MOST_FAILURES:
            raise ServerUnreachable(
                f"the connection was lost while the publish job ran ({reason}); publish again: "
                "the same file and options give the same version"
            )
        self.begin()
        return 0.2 * self._failures**2

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value


class LogLine(Struct, frozen=True):
    """One line of `GET /api/logs`.

    Args:
        time: RFC 3339.
        process: the id of the process that wrote it.
        model: the model it is about; may be empty.
        level: `info`, `warning`, `error`, …
        message: the text.
        request_id: of the request it is about; may be empty.
        exception: the trace; may be empty.
    """

    time: str = ""
    process: str = ""
    model: str = ""
    level: str = ""
    message: str = ""
    request_id: str = ""
    exception: str = ""


_LINE = reader(LogLine)


def log_path(name: str | None) -> str:
    """The path of one model's log, or of everything's."""
    return "/api/logs" if name is None else f"/api/models/{segment(name)}/logs"


def log_params(lines: int, follow: bool) -> tuple[tuple[str, str], ...]:
    """The query of a log.

    Raises:
        MaasError: INVALID_ARGUMENT for a negative number of lines.
    """
    if lines < 0:
        raise invalid(f"{lines} is not a number of log lines; expected 0 or more")
    return (("lines", str(lines)), ("follow", "true" if follow else "false"))


def read_log_line(line: str) -> LogLine | None:
    """Reads one NDJSON line; None for an empty one (a keep-alive)."""
    return _LINE(line.encode()) if line.strip() else None
