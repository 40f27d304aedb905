"""Which front holds the port, and how control asks for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from maas.core.layout import API_SOCKET, SETTINGS
from maas.settings import ServerSettings, SettingsError
from maas.wire import envoy

ADMIN_SOCKET = "envoy.sock"
CONFIG_FILE = "envoy.json"


class Front(Struct, frozen=True):
    """How an ingress is run.

    Args:
        name: `envoy` or `uvicorn`.
        note: what is missing and how to get it; empty where nothing is.
        order: the supervisor's order, without its `op`.
    """

    name: str
    note: str
    order: dict[str, Any]


def listeners(server: ServerSettings) -> list[tuple[str, int]]:
    """(host, port) of every listener."""
    further = [text.rpartition(":") for text in server.listen]
    return [(server.host, server.port), *((host, int(port)) for host, _, port in further)]


def choose_front(ingress: str, server: ServerSettings, run: Path, settings_file: Path) -> Front:
    """Chooses between Envoy and uvicorn, and writes Envoy's configuration.

    Raises:
        SettingsError: `front = "envoy"` where it cannot be embedded, or more listeners than
            uvicorn can hold.
    """
    missing = "" if server.front == "uvicorn" else envoy.why_not()
    if server.front == "envoy" and missing:
        raise SettingsError(f"front = envoy: {missing}")
    # NumPy's BLAS would start a thread for every core; an ingress multiplies no matrices.
    environment = {SETTINGS: str(settings_file), "OPENBLAS_NUM_THREADS": "1"}
    base = {"id": ingress, "kind": "ingress", "order": 1}
    if server.front != "uvicorn" and not missing:
        admin = run / ADMIN_SOCKET
        config = run / CONFIG_FILE
        envoy.write_configuration(
            config, envoy.configuration(listeners(server), run / API_SOCKET, admin)
        )
        order = {
            **base,
            "argv": envoy.command(config),
            "env": {**environment, **envoy.environment()},
            "drain": str(admin),
        }
        return Front("envoy", "", order)
    if server.listen:
        raise SettingsError("--listen needs the Envoy front" + (f": {missing}" if missing else ""))
    note = f"HTTP/1.1 only: {missing}" if missing else "HTTP/1.1 only, as asked for"
    order = {**base, "argv": [sys.executable, "-P", "-m", "maas.ingress"], "env": environment}
    return Front("uvicorn", note, order)
