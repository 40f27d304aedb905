from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, sys
from pathlib import Path
from maas.supervisor.server import Supervisor
run, logs, control, then, drain = map(json.loads, sys.argv[1:])
sys.exit(Supervisor(Path(run), Path(logs), control, then, drain).serve())
"""
PATIENT = "import os, signal; signal.signal(15, lambda *_: os._exit(0)); signal.pause()"
"""A child that waits for SIGTERM and then ends well."""


def python(code: str) -> list[str]:
    """A command line that starts in a few milliseconds."""
    return [sys.executable, "-S", "-E", "-c", code]


class Server:
    """A supervisor in a process of its own; the test is its control, over its socket.

    The control process is one that only waits, unless said otherwise.
    """

    def __init__(self, folder: Path, control: str, then: list[str], drain_s: float):
        self.folder = folder
        self.run = folder / "run"
        self.logs = folder / "logs"
        self.run.mkdir()
        self.logs.mkdir()
        arguments = [str(self.run), str(self.logs), python(control), then, drain_s]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(json.dumps, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._link: socket.socket | None = None
        self._lines: Any = None
        self.pids: list[int] = []

    def connect(self) -> dict[str, Any]:
        """Connects as control does; gives the first event."""
        self.close_link()
        path = self.run / "supervisor.sock"
        until(path.exists)
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(10)
        until(lambda: self._link.connect_ex(str(path)) == 0)
        self._lines = self._link.makefile("rb")
        return self.event()

    def order(self, **order: Any) -> None:
        assert self._link is not None
        self._link.sendall(json.dumps(order).encode() + b"\n")

    def send(self, data: bytes) -> None:
        assert self._link is not None
        self._link.sendall(data)

    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self._lines.readline())
        if event["event"] == "started":
            self.pids.append(event["process"]["pid"])
        for process in event.get("processes", ()):
            self.pids.append(process["pid"])
        return event

    def start(self, name: str, code: str = PATIENT, **fields: Any) -> dict[str, Any]:
        """Starts a child; gives what is told of it."""
        order = {"id": name, "kind": "host", "argv": python(code), "env": {}, "order": 2}
        self.order(op="start", **{**order, **fields})
        event = self.event()
        assert event["event"] == "started", event
        process: dict[str, Any] = event["process"]
        return process

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> tuple[int, str, str]:
        """Waits for the end; gives status, stdout, stderr."""
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out.decode(), err.decode()

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(encoding="utf-8")

    def close_link(self) -> None:
        if self._link is not None:
            self._lines.close()
            self._link.close()
            self._link = None

    def close(self) -> None:
        self.close_link()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def until(done: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one, since a socket's path ends at 108 bytes."""
    found = Path(tempfile.mkdtemp(prefix="maas"))
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Server]]:
    """Starts a supervisor: `serve(control=CODE, then=ARGV, drain_s=30)`."""
    servers: list[Server] = []

    def serve(control: str = PATIENT, then: list[str] | None = None, drain_s: float = 30) -> Server:
        server = Server(folder, control, then or [], drain_s)
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.close()
