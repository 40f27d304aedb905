"""The supervisor's loop: orders from control, output and exits of children, signals."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maas.core.layout import SUPERVISOR_SOCKET
from maas.supervisor.children import Child, how_it_ended, show
from maas.supervisor.draining import drain_envoy

STOP_S = 5.0
FAST_DEATHS = 3
FAST_S = 10.0
CONTROL = "control"


class Supervisor:
    """Runs one server.

    Args:
        run: folder for the sockets.
        logs: folder for the children's logs.
        control: command line of the control process.
        then: a command to run once the server is ready, or empty; its failure ends the server.
        drain_s: how long requests in flight may take after SIGTERM.
    """

    def __init__(
        self, run: Path, logs: Path, control: list[str], then: list[str], drain_s: float
    ) -> None:
        self._run = run
        self._logs = logs
        self._control = control
        self._then_argv = then
        self._then: subprocess.Popen[bytes] | None = None
        self._drain_s = drain_s
        self._selector = selectors.DefaultSelector()
        self._children: dict[str, Child] = {}
        self._starts: dict[str, int] = {}
        self._lifeline, self._held = os.pipe()
        self._link: socket.socket | None = None
        self._orders = b""
        self._signals = 0
        self._stage: int | None = None
        self._stage_until = 0.0
        self._restarting = False
        self._deaths: list[float] = []
        self._announced = False
        self._status = 0

    def serve(self) -> int:
        """Runs until everything has ended; gives the exit status."""
        listener = self._listen()
        self._watch_signals()
        self._start_control()
        while self._children or self._stage is None:
            for key, _ in self._selector.select(timeout=0.2):
                handle: Callable[[], None] = key.data
                handle()
            self._reap()
            self._advance()
        listener.close()
        return self._status

    def _listen(self) -> socket.socket:
        path = self._run / SUPERVISOR_SOCKET
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(1)
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener))
        return listener

    def _watch_signals(self) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

        def on_signal() -> None:
            for number in os.read(read, 64):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stop()

        self._selector.register(read, selectors.EVENT_READ, on_signal)

    # Children

    def _start_control(self) -> None:
        self._start({"id": CONTROL, "kind": CONTROL, "argv": self._control, "order": 3})

    def _start(self, order: dict[str, Any]) -> None:
        if order["id"] in self._children or self._stage is not None:
            return
        starts = self._starts.get(order["id"], 0)
        self._starts[order["id"]] = starts + 1
        try:
            child = Child(order, self._lifeline, self._logs, starts, self._run)
        except OSError as error:
            self._tell(event="exit", id=order["id"], reason=f"cannot start: {error}", asked=False)
            return
        self._children[child.id] = child
        self._selector.register(child.output, selectors.EVENT_READ, lambda: self._pump(child))
        self._tell(event="started", process=child.describe())

    def _pump(self, child: Child) -> None:
        if not child.pump():
            self._selector.unregister(child.output)

    def _reap(self) -> None:
        for child in list(self._children.values()):
            code = child.process.poll()
            if code is None:
                continue
            while child.pump():
                if not _readable(child.output):
                    break
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.output)
            child.close()
            del self._children[child.id]
            reason = how_it_ended(code)
            self._tell(event="exit", id=child.id, reason=reason, asked=child.asked)
            if child.id == CONTROL and self._stage is None:
                self._control_died(reason)
        if self._then is not None and self._then.poll() is not None:
            code, self._then = self._then.returncode, None
            if code:
                self._status = code
                self._stop()
            else:
                # What it did belongs into the banner: control is asked for it again.
                self._tell(event="announce")

    def _control_died(self, reason: str) -> None:
        now = time.monotonic()
        self._deaths = [at for at in self._deaths if now - at < FAST_S] + [now]
        if len(self._deaths) >= FAST_DEATHS:
            show(CONTROL, _line("error", f"control ends again and again ({reason}); giving up"))
            self._status = 1
            self._stop()
            return
        show(CONTROL, _line("error", f"control ended ({reason}); everything is started again"))
        self._restarting = True
        self._stage = 0

    # Orders

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        if self._link is not None:
            self._close_link()
        self._link = connection
        self._orders = b""
        self._selector.register(connection, selectors.EVENT_READ, self._read_orders)
        self._tell(
            event="running", processes=[child.describe() for child in self._children.values()]
        )

    def _close_link(self) -> None:
        assert self._link is not None
        self._selector.unregister(self._link)
        self._link.close()
        self._link = None

    def _read_orders(self) -> None:
        assert self._link is not None
        try:
            data = self._link.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._close_link()
            return
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            try:
                self._obey(json.loads(line))
            except (ValueError, TypeError, LookupError) as error:
                show("supervisor", _line("error", f"control gave an order that is none: {error}"))

    def _obey(self, order: dict[str, Any]) -> None:
        if order["op"] == "start":
            self._start(order)
        elif order["op"] == "ready":
            self._ready(order["banner"])
        elif (child := self._children.get(order["id"])) is not None:
            if order["op"] == "kill":
                child.signal(signal.SIGKILL)
            else:
                child.asked = True
                child.signal(signal.SIGTERM)

    def _ready(self, banner: str) -> None:
        """Control is ready: the command that waits for that runs, else the banner is shown."""
        if self._then_argv:
            self._then = subprocess.Popen(self._then_argv)
            self._then_argv = []
        elif self._then is None and not self._announced:
            self._announced = True
            with contextlib.suppress(OSError):
                sys.stdout.write(banner + "\n")
                sys.stdout.flush()

    def _tell(self, **event: Any) -> None:
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.sendall(json.dumps(event).encode() + b"\n")

    # Stopping: stage by stage, in the order the children were given

    def _stop(self) -> None:
        self._signals += 1
        if self._signals > 1:
            self._status = self._status or 130
            for child in self._children.values():
                child.signal(signal.SIGKILL)
        if self._then is not None:
            self._then.terminate()
        self._restarting = False
        if self._stage is None:
            self._stage = 0

    def _advance(self) -> None:
        """Goes on to the next stage of a drain once the present one has ended."""
        if self._stage is None:
            return
        now = time.monotonic()
        present = [child for child in self._children.values() if child.order == self._stage]
        if present and now < self._stage_until:
            return
        for child in present:
            child.signal(signal.SIGKILL)
        if present:
            self._stage_until = now + STOP_S
            return
        orders = sorted({child.order for child in self._children.values()})
        if not orders:
            if self._restarting:
                self._restarting = False
                self._stage = None
                self._start_control()
            return
        self._stage = orders[0]
        limit = 0.0 if self._restarting else self._drain_s
        self._stage_until = now + limit + STOP_S
        for child in self._children.values():
            if child.order == self._stage:
                child.asked = True
                threading.Thread(target=_end, args=(child, limit), daemon=True).start()


def _end(child: Child, limit_s: float) -> None:
    """Drains a child that has somebody to drain it, then asks it to end."""
    if child.drain and limit_s:
        with contextlib.suppress(OSError):
            drain_envoy(child.drain, limit_s)
    child.signal(signal.SIGTERM)


def _readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(timeout=0))


def _line(level: str, message: str) -> bytes:
    return json.dumps({"level": level, "process": "supervisor", "message": message}).encode()
