"""What every child process of a server does first: read the settings, watch for the end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec

from maas.core.layout import LIFELINE
from maas.settings import Settings


def read_settings(path: Path) -> Settings:
    """Reads the settings that `maas serve` wrote for its processes."""
    return msgspec.json.decode(path.read_bytes(), type=Settings)


def end_with_parent() -> None:
    """Ends this process when the supervisor does: no orphan ever holds a port or memory."""
    descriptor = os.environ.get(LIFELINE)
    if descriptor is None:
        return

    def wait() -> None:
        while os.read(int(descriptor), 1):
            pass
        os._exit(0)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
