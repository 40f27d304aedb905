"""Draining Envoy through its admin socket: no new connections, and those in flight are let end."""

from __future__ import annotations

import http.client
import socket
import time

POLL_S = 0.05
ACTIVE = "http.ingress.downstream_rq_active"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float):
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connects to the Unix socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def drain_envoy(admin: str, limit_s: float) -> None:
    """Closes the listeners and waits until no request is active.

    Args:
        admin: path of the admin socket.
        limit_s: seconds after which it returns anyway.

    Raises:
        OSError: Envoy does not answer.
    """
    _ask(admin, "POST", "/healthcheck/fail")
    _ask(admin, "POST", "/drain_listeners")
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        stats = _ask(admin, "GET", f"/stats?filter=^{ACTIVE}$")
        if stats.rpartition(":")[2].strip() in ("0", ""):
            return
        time.sleep(POLL_S)


def _ask(admin: str, method: str, path: str) -> str:
    connection = _UnixConnection(admin, 5.0)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
