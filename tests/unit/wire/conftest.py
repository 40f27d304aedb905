from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from maas.serving.plan import EMPTY


def load_beside(name: str, file: str) -> None:
    """Imports a helper beside this file; tests are no package under importlib mode."""
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(file))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


load_beside("maas_test_plane", "plane.py")

from maas_test_plane import PLAN, Server  # noqa: E402 - it is known from here on


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    await found.router.follow(PLAN)
    yield found
    found.plane.worker.shutdown()
    await found.router.follow(EMPTY)


@pytest.fixture
async def locked() -> AsyncIterator[Server]:
    found = Server(required=True)
    await found.router.follow(PLAN)
    yield found
    found.plane.worker.shutdown()
    await found.router.follow(EMPTY)
