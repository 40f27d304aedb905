"""Server processes: start on given cores, wait until ready, weigh, stop by process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.005


@dataclass(frozen=True)
class Layout:
    """Which cores the server and the load generator get, as `taskset -c` takes them."""

    name: str
    server: str
    load: str


SPLIT = Layout("split", server="0", load="1")
SHARED = Layout("shared", server="0,1", load="0,1")


@dataclass(frozen=True)
class Memory:
    """What a process tree holds, in bytes.

    `rss` counts a page shared by two processes twice; `pss` divides it between them.
    """

    processes: int
    rss: int
    pss: int


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        pid: The process that was started; the rest of the tree descends from it.
        url: Its root, without a slash at the end.
        ready_s: Seconds from starting the process to the first 200 of its readiness probe.
        log: Where its output goes.
    """

    pid: int
    url: str
    ready_s: float
    log: Path


def _parents() -> dict[int, int]:
    parents = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            stat = Path(entry.path, "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return parents


def tree(pid: int) -> list[int]:
    """The process and all its descendants, the process itself first."""
    parents = _parents()
    found = [pid]
    for member in found:  # grows while it is read
        found.extend(child for child, parent in parents.items() if parent == member)
    return [member for member in found if member in parents]


def memory(pid: int) -> Memory:
    """Sum the memory of the process and all its descendants."""
    members = tree(pid)
    totals = {"Rss": 0, "Pss": 0}
    for member in members:
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it ended meanwhile
        for line in lines:
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0]) * 1024
    return Memory(processes=len(members), rss=totals["Rss"], pss=totals["Pss"])


@dataclass(frozen=True)
class CpuClock:
    """Processor time spent so far, in seconds, by everybody and by this process's own tree."""

    at: float
    busy_s: float
    own_s: float

    @classmethod
    def now(cls) -> CpuClock:
        """Read it; of the tree, only children that have ended are counted."""
        with Path("/proc/stat").open() as stat:
            user, nice, system, _idle, _wait, _irq, _softirq, steal = stat.readline().split()[1:9]
        busy = (int(user) + int(nice) + int(system) + int(steal)) / os.sysconf("SC_CLK_TCK")
        own = sum(os.times()[:4])
        return cls(time.monotonic(), busy, own)

    def others_share(self) -> float:
        """What other processes, and other guests of the host, have used of one core since."""
        now = CpuClock.now()
        others = (now.busy_s - self.busy_s) - (now.own_s - self.own_s)
        return max(0.0, others / (now.at - self.at))


def pinned(cores: str, command: Sequence[str]) -> list[str]:
    """The command, held to the cores together with all its children."""
    return ["taskset", "-c", cores, *command]


def require_free(port: int) -> None:
    """Fail unless nothing listens on the port.

    Raises:
        RuntimeError: Something does.
    """
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise RuntimeError(f"port {port} is taken: stop what listens there or give --port")


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, HTTPException):  # URLError is an OSError
        return False


def tail(log: Path, characters: int = 2000) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-characters:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    members = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    end = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < end:
        process.poll()  # reaps it
        if not set(members) & set(_parents()):
            return
        time.sleep(0.05)
    for member in members:
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(timeout=STOP_TIMEOUT_S)


@contextmanager
def serving(
    command: Sequence[str],
    *,
    cores: str,
    port: int,
    ready_path: str,
    log: Path,
    environment: Mapping[str, str],
    folder: Path,
) -> Iterator[Server]:
    """Run a server for the length of a `with` block.

    Args:
        command: What starts it, in the foreground.
        cores: The cores it and its children are held to.
        port: Where it listens on the loopback interface.
        ready_path: The path that answers 200 once predictions are served.
        log: Where its output goes.
        environment: Variables added to this process's own.
        folder: Its working directory.

    Yields:
        The ready server; it and its descendants have ended when the block has.

    Raises:
        RuntimeError: It ended, or was not ready in time; the message holds the end of its log.
    """
    require_free(port)
    url = f"http://{HOST}:{port}"
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            pinned(cores, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environment},
            # Not a session of its own: where Linux shares the cores between sessions (autogroup), a
            # server and its callers would wait for each other's turns. In containers and services
            # it does not, so neither does it here.
            process_group=0,
        )
        try:
            while not _answers(url + ready_path):
                if process.poll() is not None:
                    said = tail(log)
                    raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{said}")
                if time.perf_counter() - start > READY_TIMEOUT_S:
                    said = tail(log)
                    raise RuntimeError(f"not ready within {READY_TIMEOUT_S:.0f} s:\n{said}")
                time.sleep(POLL_S)
            yield Server(process.pid, url, time.perf_counter() - start, log)
        finally:
            _stop(process)
