"""Child processes: how one is started, heard, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from maas.core.layout import LIFELINE

LOG_BYTES = 8 << 20


class Child:
    """One child process and the log it writes.

    Args:
        order: what to start: `id`, `kind`, `argv`, `env`, `order` (of draining), `drain` (Envoy's
            admin socket, for one that cannot drain by itself).
        lifeline: read end of a pipe that closes when the supervisor ends.
        logs: folder for `ID.log`.
        restarts: how often a process of this id was started before.
        folder: where it runs; pyvoy puts the present folder on Python's path, so it must be ours.
    """

    def __init__(
        self, order: dict[str, Any], lifeline: int, logs: Path, restarts: int, folder: Path
    ):
        self.id: str = order["id"]
        self.kind: str = order["kind"]
        self.order: int = order.get("order", 9)
        self.drain: str = order.get("drain", "")
        self.asked = False
        self.restarts = restarts
        self.started_at = time.time()
        self._log = LogFile(logs / f"{self.id}.log")
        read, write = os.pipe()
        environment = {**os.environ, **order.get("env", {}), LIFELINE: str(lifeline)}
        try:
            self.process = subprocess.Popen(
                order["argv"],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                pass_fds=(lifeline,),
                # A Ctrl-C at the terminal is the supervisor's to handle. Not a session of its own:
                # Linux schedules sessions as groups (autogroup), and within one of its own a
                # language model's engine would yield to nobody else.
                process_group=0,
            )
        finally:
            os.close(write)
        os.set_blocking(read, False)
        self.output = read
        self._rest = b""

    def describe(self) -> dict[str, Any]:
        """As control is told of it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "pid": self.process.pid,
            "started_at": self.started_at,
            "restarts": self.restarts,
        }

    def pump(self) -> bool:
        """Copies what the child has written to its log and to stderr; False at its end."""
        try:
            data = os.read(self.output, 1 << 16)
        except BlockingIOError:
            return True
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if not data and self._rest:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._log.write(line)
            show(self.id, line)
        return bool(data)

    def signal(self, number: int) -> None:
        """Sends a signal, where the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def close(self) -> None:
        """Lets its pipe and its log go."""
        os.close(self.output)
        self._log.close()


class LogFile:
    """A log that keeps at most two files of `LOG_BYTES`: the present one and `.1` before it."""

    def __init__(self, path: Path):
        self._path = path
        self._file: BinaryIO | None = path.open("ab")

    def write(self, line: bytes) -> None:
        """Appends a line; a disk that is full or away loses the line, never the server."""
        with contextlib.suppress(OSError):
            if self._file is None or self._file.tell() > LOG_BYTES:
                self._rotate()
            if self._file is not None:
                self._file.write(line + b"\n")
                self._file.flush()

    def _rotate(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()
            self._path.replace(self._path.with_suffix(".log.1"))
        self._file = self._path.open("ab")

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def show(process: str, line: bytes) -> None:
    """Passes a log line on: as it is in a pipe, on a terminal only what a person should see."""
    with contextlib.suppress(OSError):
        if not sys.stderr.isatty():
            sys.stderr.buffer.write(line + b"\n")
            sys.stderr.buffer.flush()
            return
        try:
            record = json.loads(line)
            level, message, note = record["level"], record["message"], record.get("note", False)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return
        if level in ("warning", "error", "critical"):
            sys.stderr.write(f"{level}: {process}: {message}\n")
        elif note:
            sys.stderr.write(f"{message}\n")


def how_it_ended(code: int) -> str:
    """An exit status as people read it."""
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit status {code}"
