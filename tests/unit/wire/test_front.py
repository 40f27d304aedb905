from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from maas.settings import ServerSettings, SettingsError
from maas.wire import envoy
from maas.wire.front import choose_front, listeners

HERE = pytest.mark.skipif(bool(envoy.why_not()), reason=envoy.why_not() or "it runs here")


def test_every_listener_is_a_host_and_a_port() -> None:
    server = ServerSettings(host="::1", port=1, listen=("0.0.0.0:8501", "[::1]:8500", ":9"))
    assert listeners(server) == [("::1", 1), ("0.0.0.0", 8501), ("[::1]", 8500), ("", 9)]


def test_uvicorn_when_it_is_asked_for(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    front = choose_front("ingress-1", ServerSettings(front="uvicorn"), tmp_path, settings)
    assert front.name == "uvicorn"
    assert "HTTP/1.1 only" in front.note
    assert (front.order["id"], front.order["kind"], front.order["order"]) == (
        "ingress-1",
        "ingress",
        1,
    )
    assert front.order["argv"] == [sys.executable, "-P", "-m", "maas.ingress"]
    assert front.order["env"]["MAAS_SETTINGS_FILE"] == str(settings)
    assert "drain" not in front.order


def test_uvicorn_holds_one_listener(tmp_path: Path) -> None:
    server = ServerSettings(front="uvicorn", listen=("127.0.0.1:8501",))
    with pytest.raises(SettingsError, match="--listen needs the Envoy front"):
        choose_front("ingress-1", server, tmp_path, tmp_path / "settings.json")


@HERE
@pytest.mark.parametrize("wanted", ["auto", "envoy"])
def test_envoy_where_it_can_be(tmp_path: Path, wanted: str) -> None:
    settings = tmp_path / "settings.json"
    server = ServerSettings(front=wanted, port=9999, listen=("127.0.0.1:8501",))
    front = choose_front("ingress-1", server, tmp_path, settings)
    assert (front.name, front.note) == ("envoy", "")
    assert front.order["drain"] == str(tmp_path / "envoy.sock")
    assert front.order["env"]["MAAS_SETTINGS_FILE"] == str(settings)
    assert "LD_PRELOAD" in front.order["env"]
    config = tmp_path / "envoy.json"
    assert str(config) in front.order["argv"]
    assert config.stat().st_mode & 0o777 == 0o600
    ports = [
        one["address"]["socket_address"]["port_value"]
        for one in json.loads(config.read_text())["static_resources"]["listeners"]
    ]
    assert ports == [9999, 8501]
    json.dumps(front.order)  # it travels as a JSON line


def test_where_envoy_is_missing_it_is_said_what_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(SettingsError, match="front = envoy: Envoy is not embedded on darwin"):
        choose_front("i", ServerSettings(front="envoy"), tmp_path, tmp_path / "s")
    front = choose_front("i", ServerSettings(front="auto"), tmp_path, tmp_path / "s")
    assert front.name == "uvicorn"
    assert "Envoy is not embedded on darwin" in front.note
