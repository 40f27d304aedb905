from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


def load_stub_server() -> ModuleType:
    """Imports the helper beside this file; tests are no package under importlib mode."""
    name = "maas_stub_server"
    if name not in sys.modules:
        file = Path(__file__).with_name("stub_server.py")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


load_stub_server()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MAAS_URL", "MAAS_API_KEY", "MAAS_PORT", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MAAS_HOME", str(tmp_path / "home"))
    # A proxy that answers nothing: whatever goes through it fails.
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
def stub() -> Iterator[object]:
    server = load_stub_server().Stub()
    yield server
    server.close()
