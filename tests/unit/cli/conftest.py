from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

if "maas_stub_server" not in sys.modules:
    file = Path(__file__).parents[1] / "client" / "stub_server.py"
    spec = importlib.util.spec_from_file_location("maas_stub_server", file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["maas_stub_server"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["maas_stub_server"])

from maas_stub_server import KEY, Stub

from maas.cli.app import run


class Result(msgspec.Struct):
    """What a command line came to."""

    code: int
    out: str
    err: str


Maas = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("MAAS_URL", "MAAS_API_KEY", "MAAS_PORT", "MAAS_HOST", "PORT", "MAAS_OWNER_KEY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("MAAS_HOME", str(folder))
    return folder


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    server = Stub()
    monkeypatch.setenv("MAAS_URL", server.url)
    monkeypatch.setenv("MAAS_API_KEY", KEY)
    yield server
    server.close()


@pytest.fixture
def maas(capfd: pytest.CaptureFixture[str]) -> Maas:
    def invoke(*arguments: str) -> Result:
        capfd.readouterr()
        code = run(arguments)
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return invoke
