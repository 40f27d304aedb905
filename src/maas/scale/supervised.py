"""Control's side of the supervisor socket, and the fleet that starts hosts through it.

JSON lines. Control says `{"op": "start", "id", "kind", "argv", "env", "order", "drain"}`, `stop`,
`kill`, `list`, `ready`; the supervisor says `{"event": "running", …}` once, then `exit` for every
process that has ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maas.serving.fleet import HostSpec

log = logging.getLogger("maas.fleet")

Exited = Callable[[str, str, bool], None]


class SupervisorLink:
    """Lives on control's event loop.

    Args:
        exited: called with (process id, how it ended, whether that was asked for).
        announce: called when the supervisor wants to hear that everything is ready.
    """

    def __init__(self, exited: Exited, announce: Callable[[], None]):
        self._exited = exited
        self._announce = announce
        self.running: dict[str, dict[str, Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None

    async def connect(self, path: Path) -> None:
        """Connects and learns what is running."""
        self._reader, self._writer = await asyncio.open_unix_connection(path)
        first = json.loads(await self._reader.readline())
        self.running = {process["id"]: process for process in first["processes"]}

    async def run(self) -> None:
        """Reads until the supervisor is gone, which ends this process too."""
        assert self._reader is not None
        while line := await self._reader.readline():
            event = json.loads(line)
            if event["event"] == "started":
                self.running[event["process"]["id"]] = event["process"]
            elif event["event"] == "announce":
                self._announce()
            elif event["event"] == "exit":
                self.running.pop(event["id"], None)
                self._exited(event["id"], event["reason"], event["asked"])

    def say(self, **order: Any) -> None:
        """Gives the supervisor an order."""
        assert self._writer is not None
        self._writer.write(json.dumps(order).encode() + b"\n")


class ProcessFleet:
    """Hosts as child processes: the Fleet of one machine.

    Args:
        link: to the supervisor.
        settings_file: handed to every host.
    """

    def __init__(self, link: SupervisorLink, settings_file: Path):
        self._link = link
        self._settings_file = settings_file

    async def start(self, host: HostSpec) -> None:
        """Starts a host process; returns before it is ready."""
        argv = [
            sys.executable,
            "-P",
            "-m",
            "maas.host",
            "--id",
            host.id,
            "--incarnation",
            str(host.incarnation),
            "--settings",
            str(self._settings_file),
        ]
        self._link.say(op="start", id=host.id, kind="host", argv=argv, env={}, order=2)

    async def stop(self, host_id: str) -> None:
        """Asks a host to end."""
        self._link.say(op="stop", id=host_id)

    async def kill(self, host_id: str) -> None:
        """Ends a host that hangs, at once."""
        self._link.say(op="kill", id=host_id)
