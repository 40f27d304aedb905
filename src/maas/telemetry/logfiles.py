"""Reading back what processes have written to `logs/ID.log`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from msgspec import Struct

TAIL_BYTES = 4 << 20
POLL_S = 0.25


class LogLine(Struct, frozen=True, omit_defaults=True):
    """One line of a process's log, as its JSON says it.

    Args:
        time: RFC 3339, UTC.
        level: debug, info, warning, error or critical.
        process: id of the process that wrote it.
        message: the text.
        logger: who within the process.
        model: `name:version` it is about, or empty.
        request_id: of the request it is about, or empty.
        exception: the trace, or empty.
    """

    time: str
    level: str
    process: str
    message: str
    logger: str = ""
    model: str = ""
    request_id: str = ""
    exception: str = ""


Wanted = Callable[[LogLine], bool]


class LogFolder:
    """The logs of one server's processes.

    Args:
        folder: holds `ID.log` and, before it, `ID.log.1`.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def tail(self, wanted: Wanted, lines: int) -> list[LogLine]:
        """The last lines that are wanted, of all processes, oldest first."""
        found = [
            line
            for path in sorted(self._folder.glob("*.log*"))
            for line in _read(path, path.stat().st_size - TAIL_BYTES)[0]
            if wanted(line)
        ]
        found.sort(key=lambda line: line.time)
        return found[-lines:] if lines else []

    async def follow(self, wanted: Wanted) -> AsyncIterator[LogLine]:
        """Lines written after this call, as they come, without end."""
        at = {path: _end(path) for path in self._folder.glob("*.log")}
        while True:
            fresh: list[LogLine] = []
            for path in self._folder.glob("*.log"):
                inode, start = at.get(path, (path.stat().st_ino, 0))
                if path.stat().st_ino != inode:
                    # It was rotated: first what was still written to the old one.
                    old = path.with_suffix(".log.1")
                    if old.exists() and old.stat().st_ino == inode:
                        fresh += _read(old, start)[0]
                    inode, start = path.stat().st_ino, 0
                lines, start = _read(path, start)
                at[path] = inode, start
                fresh += lines
            for line in sorted(fresh, key=lambda line: line.time):
                if wanted(line):
                    yield line
            await asyncio.sleep(POLL_S)


def _end(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_size


def _read(path: Path, start: int) -> tuple[list[LogLine], int]:
    """Whole lines from a byte offset on, and the offset after the last of them."""
    start = max(start, 0)
    with path.open("rb") as file:
        if start:
            # An offset may lie within a line, which is then left out.
            file.seek(start - 1)
            if file.read(1) != b"\n":
                start += len(file.readline())
        data = file.read()
    end = data.rfind(b"\n") + 1
    process = path.name.partition(".log")[0]
    return list(_parse(data[:end].splitlines(), process)), start + end


def _parse(raw: Iterable[bytes], process: str) -> Iterable[LogLine]:
    """JSON lines as they are; what a library printed as a line of its process's."""
    time = ""
    for data in raw:
        text = data.decode("utf-8", "replace")
        try:
            fields = json.loads(text)
            line = LogLine(**{name: str(fields[name]) for name in fields})
            time = line.time
        except (ValueError, TypeError, LookupError, RecursionError):
            if not text.strip():
                continue
            line = LogLine(time, "info", process, text)
        yield line
