"""Control's link, and the fleet, over a supervisor that is a process."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from maas.scale.supervised import ProcessFleet, SupervisorLink
from maas.serving.fleet import HostSpec

PROGRAM = """
import json, sys
from pathlib import Path
from maas.supervisor.server import Supervisor
folder = Path(sys.argv[1])
sys.exit(Supervisor(folder, folder, json.loads(sys.argv[2]), json.loads(sys.argv[3]), 1).serve())
"""
WAIT = "import os, signal; signal.signal(15, lambda *_: os._exit(0)); signal.pause()"


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


class Ground:
    """A supervisor, control's link to it, and what the link has reported."""

    def __init__(self, folder: Path, then: str):
        self.folder = folder
        self.exits: list[tuple[str, str, bool]] = []
        self.announced = 0
        control = [sys.executable, "-S", "-c", WAIT]
        command = [sys.executable, "-S", "-c", then] if then else []
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), json.dumps(control), json.dumps(command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.link = SupervisorLink(lambda *exit_: self.exits.append(exit_), self._announce)

    def _announce(self) -> None:
        self.announced += 1

    async def connect(self) -> None:
        path = self.folder / "supervisor.sock"
        await until(path.exists)
        await asyncio.sleep(0.05)
        await self.link.connect(path)
        self.reading = asyncio.create_task(self.link.run())

    async def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.communicate)
        await asyncio.wait_for(self.reading, 5)
        assert self.link._writer is not None
        self.link._writer.close()


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., object]]:
    grounds: list[Ground] = []
    folder = Path(tempfile.mkdtemp(prefix="maas"))

    async def start(then: str = "") -> Ground:
        grounds.append(Ground(folder, then))
        await grounds[-1].connect()
        return grounds[-1]

    yield start
    for ground in grounds:
        await ground.close()
    shutil.rmtree(folder)


Start = Callable[..., object]


def say_start(link: SupervisorLink, name: str, code: str = WAIT) -> None:
    argv = [sys.executable, "-S", "-c", code]
    link.say(op="start", id=name, kind="host", argv=argv, env={}, order=2)


async def test_it_learns_what_runs_first_of_all(start: Start) -> None:
    ground = await start()
    assert set(ground.link.running) == {"control"}
    assert ground.link.running["control"]["pid"]


async def test_starts_and_exits_are_followed(start: Start) -> None:
    ground = await start()
    say_start(ground.link, "host-1")
    await until(lambda: "host-1" in ground.link.running)
    assert ground.link.running["host-1"]["restarts"] == 0
    ground.link.say(op="kill", id="host-1")
    await until(lambda: ground.exits)
    assert ground.exits == [("host-1", "killed by SIGKILL", False)]
    assert set(ground.link.running) == {"control"}


async def test_the_supervisor_asks_for_the_announcement_after_its_command(start: Start) -> None:
    ground = await start(then="pass")
    ground.link.say(op="ready", banner="ready")
    await until(lambda: ground.announced == 1)


async def test_the_link_ends_with_the_supervisor(start: Start) -> None:
    ground = await start()
    ground.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(ground.reading, 5)


def command_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


async def test_the_fleet_starts_stops_and_kills_host_processes(start: Start) -> None:
    """The settings file is none, so that the hosts end: what counts is how they were asked for."""
    ground = await start()
    fleet = ProcessFleet(ground.link, ground.folder / "settings.json")
    await fleet.start(HostSpec("host-3", 2))
    await until(lambda: "host-3" in ground.link.running)
    process = ground.link.running["host-3"]
    assert process["kind"] == "host"
    command = command_of(process["pid"])
    assert command[1:4] == [b"-P", b"-m", b"maas.host"]
    assert command[4:10] == [
        b"--id", b"host-3", b"--incarnation", b"2", b"--settings",
        str(ground.folder / "settings.json").encode(),
    ]  # fmt: skip
    await fleet.kill("host-3")
    await until(lambda: ground.exits)
    assert ground.exits == [("host-3", "killed by SIGKILL", False)]
    say_start(ground.link, "host-4")
    await until(lambda: "host-4" in ground.link.running)
    await fleet.stop("host-4")
    await until(lambda: len(ground.exits) == 2)
    assert ground.exits[1][2] is True
