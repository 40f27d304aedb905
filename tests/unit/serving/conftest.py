from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from maas.serving.messages import Changed
from maas.serving.replica import HostReplica
from maas.settings import ServingSettings


def load_beside(name: str, file: str) -> None:
    """Imports a helper beside this file; tests are no package under importlib mode."""
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(file))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


load_beside("maas_test_models", "models.py")
load_beside("maas_test_ground", "ground.py")
load_beside("maas_test_controls", "controls.py")
load_beside("maas_test_crossing", "crossing.py")
load_beside("maas_test_scripted", "scripted.py")
load_beside("maas_test_parrot", "parrot.py")

from maas_test_controls import Control  # noqa: E402 - it is known from here on
from maas_test_crossing import Host, until  # noqa: E402


@pytest.fixture
def run() -> Iterator[Path]:
    """A run folder: short, since a socket's path ends at 108 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="maas"))
    yield folder
    shutil.rmtree(folder)


StartControl = Callable[..., Awaitable[Control]]


@pytest.fixture
async def start_control(run: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartControl]:
    """Starts control where it is looked for, in the life and with the plan given."""
    started: list[Control] = []

    async def start(epoch: str = "epoch", number: int = 1) -> Control:
        found = Control(run / "control.sock", monkeypatch)
        found.now = Changed(epoch, number, 0)
        started.append(found)
        await found.start()
        return found

    yield start
    for one in started:
        await one.stop()


@pytest.fixture
async def control(start_control: StartControl) -> Control:
    return await start_control()


@pytest.fixture(autouse=True)
def _unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log records that a test runner keeps would keep the sockets of their tracebacks open."""
    monkeypatch.setattr(logging.getLogger("maas.host"), "disabled", True)


Start = Callable[..., Awaitable[tuple[Host, HostReplica]]]


@pytest.fixture
async def start(run: Path) -> AsyncIterator[Start]:
    hosts: list[tuple[Host, HostReplica]] = []

    async def start(waiting_rows: int = 10_000, **fields: object) -> tuple[Host, HostReplica]:
        host = Host(run, ServingSettings(**fields), waiting_rows)
        replica = await host.connect()
        hosts.append((host, replica))
        return host, replica

    yield start
    for host, replica in hosts:
        host.model.go.set()
        replica._transport.close()
        await until(lambda replica=replica: not replica.connected)
