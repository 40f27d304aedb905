"""The control process: registry, publishing, manager, `/api`, metrics.

```
/api ─▶ admin ─▶ registry ─▶ manager ─▶ plan ─▶ ingresses, hosts
                                  └─▶ fleet ─▶ supervisor
```

Its first act is to ask the supervisor what is running. It writes a plan before it asks for an
ingress, so that the front has one from its first moment.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from math import prod
from pathlib import Path

import uvicorn
from litestar.types import ASGIApp

from maas import __version__
from maas.access.authenticator import Authenticator
from maas.access.keyring import Keyring
from maas.access.owner import FILE_NAME, owner_key
from maas.access.roles import Action, check_allowed
from maas.admin.answers import Answers
from maas.admin.imports.watched import Watched
from maas.admin.imports.watcher import Watcher, make_watcher, origin_of
from maas.admin.jobs import Jobs
from maas.admin.keys import make_keyring
from maas.admin.managed import ManagedDeployments, wait_for
from maas.admin.pipeline import Pipeline
from maas.admin.processtable import ProcessTable, usage
from maas.core.identity import ServableId
from maas.core.layout import API_SOCKET, CONTROL_SOCKET, SUPERVISOR_SOCKET
from maas.core.records import ServerInfo
from maas.core.signature import Signature, main_signature
from maas.registry import Registry
from maas.runtimes.plugins import load_runtimes
from maas.runtimes.upstream.runtime import UpstreamRuntime
from maas.scale.supervised import ProcessFleet, SupervisorLink
from maas.serving.controlserver import ControlServer
from maas.serving.manager import Manager
from maas.serving.messages import (
    Changed,
    Ending,
    Failed,
    FromProcess,
    Lost,
    Overdue,
    Question,
    Ready,
    Reply,
    Unloaded,
    Want,
)
from maas.serving.plan import EMPTY, KEYS_FILE, replace_file, write_plan
from maas.serving.planning import Catalogue
from maas.serving.processes import end_with_parent, read_settings
from maas.serving.versions import Peer
from maas.settings import (
    Settings,
    SettingsError,
    is_loopback,
    local_address,
    local_url,
    needs_key,
)
from maas.telemetry.exposition import Gauge, render
from maas.telemetry.logfiles import LogFolder
from maas.telemetry.logs import configure_logging
from maas.telemetry.statistics import Tally
from maas.wire.api.app import create_api
from maas.wire.api.origins import ANY_HOST
from maas.wire.api.services import ApiServices
from maas.wire.banner import banner
from maas.wire.front import Front, choose_front
from maas.wire.metrics import metrics_route

log = logging.getLogger("maas.control")

INGRESS = "ingress-1"
INGRESS_RETRY_S = 0.5


class Control:
    """The parts of control, put together. Lives on one event loop.

    Args:
        settings: the whole tree.
        settings_file: where the other processes read it.
    """

    def __init__(self, settings: Settings, settings_file: Path):
        self._settings = settings
        self._run = Path(settings.paths.run)
        self._home = Path(settings.paths.home)
        self._started_at = _now()
        self._owner, self._owner_made = owner_key(self._home, settings.keys)
        self._registry = Registry.open(self._home, lambda: datetime.now(UTC))
        self._front: Front = choose_front(INGRESS, settings.server, self._run, settings_file)
        self._tally = Tally()
        self._server = ControlServer(
            self._on_message, self._on_acked, self._current, self._tally.update, self._on_question
        )
        self._watched = Watched(self._failed, importing=bool(origin_of(settings.imports)))
        self._watcher: Watcher | None = None
        self._manager = Manager(
            Catalogue(
                lambda: self._watched.wanted(self._registry.snapshot()),
                self._registry.artifact,
                self._watched.held,
                lambda: self._watched.importing,
            ),
            settings.serving,
            self._run,
            f"{time.time_ns():x}-{secrets.token_hex(4)}",
            self._server.broadcast,
            self._server.acknowledged,
        )
        self._supervisor = SupervisorLink(self._on_exit, self._start_announcing)
        self._fleet = ProcessFleet(self._supervisor, settings_file)
        self._authenticator = Authenticator(Keyring(0), required=True)
        self._table = ProcessTable(
            lambda: self._supervisor.running, self._manager, os.getppid(), self._started_at
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Runs until SIGTERM."""
        write_plan(self._run, EMPTY)
        await self._write_keys(0)
        deployments = ManagedDeployments(
            self._manager,
            self._server,
            LogFolder(self._home / "logs"),
            self._write_keys,
            self._table.records,
            self._info,
        )
        self._answers = Answers(
            self._registry,
            deployments,
            self._manager.versions.keys(),
            self._server.recount,
            self._tally.statistics,
        )
        await self._server.start(self._run / CONTROL_SOCKET)
        await self._supervisor.connect(self._run / SUPERVISOR_SOCKET)
        self._tasks.append(asyncio.create_task(self._follow_supervisor()))
        self._tasks.append(asyncio.create_task(self._manager.run(self._fleet)))
        self._supervisor.say(op="start", **self._front.order)
        runtimes = {**load_runtimes(), "upstream": UpstreamRuntime(self._settings.upstream)}
        publish = Pipeline(self._registry, runtimes, self._settings.publish)
        jobs = Jobs(
            publish,
            self._registry,
            deployments,
            concurrent=self._settings.publish.concurrent,
            load_s=self._settings.serving.load_s,
        )
        self._watcher = make_watcher(
            self._settings, self._registry, deployments, jobs, self._watched
        )
        if self._watcher is not None:
            self._watcher.start()
        self._start_announcing()
        services = ApiServices(
            self._registry,
            deployments,
            jobs,
            self._authenticator,
            self._settings.limits,
            self._watcher.records if self._watcher is not None else tuple,
            load_s=self._settings.serving.load_s,
        )
        await self._serve(self._api(services))
        if self._watcher is not None:
            await self._watcher.close()
        await jobs.close()
        self._registry.close()

    def _api(self, services: ApiServices) -> ASGIApp:
        public = Authenticator(Keyring(0), required=False)
        needed = needs_key(self._settings.server)

        def allowed(headers: list[tuple[bytes, bytes]]) -> None:
            one = self._authenticator if needed else public
            check_allowed(one.authenticate(headers), Action.READ)

        host = self._settings.server.host
        hosts = () if is_loopback(host) and not self._settings.server.listen else (ANY_HOST,)
        return create_api(
            services,
            allowed_hosts=hosts,
            extra_routes=[metrics_route(self._metrics, allowed)],
        )

    async def _serve(self, app: ASGIApp) -> None:
        path = self._run / API_SOCKET
        path.unlink(missing_ok=True)
        config = uvicorn.Config(
            app,
            uds=str(path),
            http="httptools",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=3,
        )
        await uvicorn.Server(config).serve()

    async def _follow_supervisor(self) -> None:
        await self._supervisor.run()
        log.error("the supervisor is gone")
        os._exit(1)

    def _start_announcing(self) -> None:
        self._tasks.append(asyncio.create_task(self._announce()))

    async def _announce(self) -> None:
        """Waits until an ingress holds a plan and everything wanted is loaded, then says so."""
        if self._watcher is not None:
            await self._watcher.ready.wait()
        while True:
            held = self._server.acknowledged()
            looked = self._manager.settled
            if looked and held == self._manager.number:
                break
            await wait_for(self._manager.progress, 0.05)
        await self._listening()
        owner_file = "" if self._settings.keys.owner else str(self._owner_file())
        text = banner(
            self._info(),
            owner_file,
            self._owner_made,
            self._example(),
            sorted(self._manager.serving),
        )
        self._supervisor.say(op="ready", banner=text)

    async def _listening(self) -> None:
        """Waits until the port is open: an ingress has its plan a moment before."""
        server = self._settings.server
        while True:
            try:
                _, writer = await asyncio.open_connection(local_address(server), server.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

    def _owner_file(self) -> Path:
        given = self._settings.keys.owner_file
        return Path(given) if given else self._home / FILE_NAME

    def _example(self) -> tuple[ServableId, Signature] | None:
        """A version that serves, and its signature: the one with the fewest inputs to type."""
        serving = []
        for name, number in self._manager.serving.items():
            servable = ServableId(name, number)
            signature = main_signature(self._manager.versions[servable].record.signatures)
            values = sum(prod(size or 1 for size in spec.shape) for spec in signature.inputs)
            serving.append((values, servable, signature))
        if not serving:
            return None
        _, servable, signature = min(serving, key=lambda one: one[:2])
        return servable, signature

    def _info(self) -> ServerInfo:
        server = self._settings.server
        return ServerInfo(
            __version__,
            local_url(server),
            self._front.name,
            self._front.name == "envoy",
            "required" if needs_key(server) else "open",
            str(self._home),
            self._server.acknowledged() is not None,
            self._started_at,
            self._front.note,
        )

    async def _write_keys(self, number: int) -> None:
        active = await asyncio.to_thread(self._registry.active_keys)
        ring = make_keyring(active, self._owner, number)
        self._authenticator.replace(ring)
        replace_file(self._run / KEYS_FILE, ring.encode())

    def _metrics(self) -> bytes:
        return render(self._tally.series(), self._gauges())

    def _gauges(self) -> list[Gauge]:
        processes = [(row.id, *usage(row.pid)) for row in self._table.records()]
        versions = [
            ((servable.name, str(servable.version), entry.state.value), 1.0)
            for servable, entry in self._manager.versions.items()
        ]
        return [
            Gauge("maas_version_state", "1 for the state a version is in",
                  ("model", "version", "state"), versions),
            Gauge("maas_process_resident_bytes", "Resident memory of a process", ("process",),
                  [((name,), float(memory)) for name, memory, _ in processes]),
            Gauge("maas_process_cpu_seconds", "Processor time of a process", ("process",),
                  [((name,), cpu) for name, _, cpu in processes]),
        ]  # fmt: skip

    def _failed(self, servable: ServableId) -> bool:
        entry = self._manager.versions.get(servable)
        return entry is not None and entry.failed

    def _current(self) -> Changed:
        return self._manager.changed()

    def _on_acked(self) -> None:
        self._manager.acked()

    async def _on_question(self, question: Question) -> Reply:
        return await self._answers(question)

    async def _on_message(self, peer: Peer, message: FromProcess) -> None:
        manager = self._manager
        if isinstance(message, Ready):
            manager.on_ready(peer.id, message)
        elif isinstance(message, Failed):
            manager.on_failed(peer.id, message)
        elif isinstance(message, Unloaded):
            manager.on_unloaded(peer.id, message)
        elif isinstance(message, Want):
            manager.on_want(message)
        elif isinstance(message, Lost):
            manager.on_lost(message)
        elif isinstance(message, Overdue):
            await manager.on_overdue(message)
        elif isinstance(message, Ending):
            manager.on_ending(peer.id, message)

    def _on_exit(self, process: str, reason: str, asked: bool) -> None:
        self._tally.ended(process)
        if process == INGRESS:
            if not asked:
                log.error("%s ended (%s); it is started again", process, reason)
                asyncio.get_running_loop().call_later(
                    INGRESS_RETRY_S, lambda: self._supervisor.say(op="start", **self._front.order)
                )
            return
        self._manager.on_exit(process, reason, asked)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def main() -> int:
    """Runs control: `python -m maas.control --settings FILE`."""
    parser = argparse.ArgumentParser(prog="maas.control", description=main.__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    arguments = parser.parse_args()
    configure_logging("control")
    end_with_parent()
    settings = read_settings(arguments.settings)

    async def run() -> None:
        await Control(settings, arguments.settings).run()

    try:
        asyncio.run(run())
    except SettingsError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
