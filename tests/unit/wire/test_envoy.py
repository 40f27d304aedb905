from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maas.core.layout import SETTINGS
from maas.settings import load_settings
from maas.wire import envoy

pytestmark = pytest.mark.skipif(bool(envoy.why_not()), reason=envoy.why_not() or "it runs here")


@pytest.fixture
def run() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(prefix="maas"))
    yield found
    shutil.rmtree(found)


def validate(run: Path, configuration: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Asks the real Envoy what it thinks of a configuration."""
    path, settings_file = run / "envoy.json", run / "settings.json"
    envoy.write_configuration(path, configuration)
    # Validating starts our application too, which wants to know where its server lives.
    paths = {"paths": {"home": str(run / "home"), "run": str(run)}}
    settings_file.write_bytes(msgspec.json.encode(load_settings(paths, {})))
    return subprocess.run(
        [*envoy.command(path), "--mode", "validate"],
        env={**os.environ, **envoy.environment(), SETTINGS: str(settings_file)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_envoy_accepts_the_configuration(run: Path) -> None:
    for listeners in (
        [("127.0.0.1", 8080)],
        [("0.0.0.0", 8080), ("localhost", 8501), ("::1", 8500), ("[::]", 9000)],
    ):
        made = envoy.configuration(listeners, run / "api.sock", run / "envoy.sock")
        done = validate(run, made)
        assert done.returncode == 0, done.stderr
        assert "OK" in done.stdout


def test_envoy_would_say_if_it_did_not(run: Path) -> None:
    made = envoy.configuration([("127.0.0.1", 8080)], run / "api.sock", run / "envoy.sock")
    made["static_resources"]["listeners"][0]["no_such_field"] = 1
    done = validate(run, made)
    assert done.returncode != 0
    assert "no_such_field" in done.stderr


def test_the_file_is_the_owners_alone(run: Path) -> None:
    path = run / "envoy.json"
    envoy.write_configuration(path, {"a": 1})
    envoy.write_configuration(path, {"b": "模型"})
    assert json.loads(path.read_text()) == {"b": "模型"}
    assert path.stat().st_mode & 0o777 == 0o600


def made(run: Path) -> dict[str, Any]:
    return envoy.configuration(
        [("127.0.0.1", 8080), ("localhost", 8501)], run / "api.sock", run / "envoy.sock"
    )


def manager(configuration: dict[str, Any], listener: int = 0) -> dict[str, Any]:
    chain = configuration["static_resources"]["listeners"][listener]["filter_chains"][0]
    found: dict[str, Any] = chain["filters"][0]["typed_config"]
    return found


def test_the_admin_interface_is_a_private_socket_and_no_port(run: Path) -> None:
    assert made(run)["admin"] == {
        "address": {"pipe": {"path": str(run / "envoy.sock"), "mode": 0o600}}
    }


def test_two_servers_never_share_a_port(run: Path) -> None:
    listeners = made(run)["static_resources"]["listeners"]
    assert [one["enable_reuse_port"] for one in listeners] == [False, False]
    addresses = [one["address"]["socket_address"] for one in listeners]
    assert [one["port_value"] for one in addresses] == [8080, 8501]
    assert addresses[0]["address"] == "127.0.0.1"
    assert addresses[1]["address"] in ("127.0.0.1", "::1")


def test_controls_paths_are_whole_segments_without_a_time_out_and_past_our_application(
    run: Path,
) -> None:
    routes = manager(made(run))["route_config"]["virtual_hosts"][0]["routes"]
    control = [one for one in routes if "route" in one]
    assert [one["match"]["path_separated_prefix"] for one in control] == list(
        envoy.CONTROL_PREFIXES
    )
    for one in control:
        assert one["route"] == {"cluster": "control", "timeout": "0s"}
        assert one["typed_per_filter_config"]["pyvoy"]["disabled"] is True
    [cluster] = made(run)["static_resources"]["clusters"]
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"] == {"pipe": {"path": str(run / "api.sock")}}


def test_headers_and_idle_connections_have_limits(run: Path) -> None:
    for listener in (0, 1):
        found = manager(made(run), listener)
        assert found["max_request_headers_kb"] == 32
        assert found["request_headers_timeout"] == "10s"
        assert found["common_http_protocol_options"]["max_headers_count"] == 100
        assert found["generate_request_id"] is False


def test_the_folder_it_was_started_in_is_no_place_to_import_from() -> None:
    code = (
        "import os, sys; sys.path[:0] = ['', os.getcwd(), '/elsewhere']\n"
        "from maas.wire import envoy; print(envoy.environment()['PYTHONPATH'])"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
        )
        paths = done.stdout.strip().split(os.pathsep)
        assert os.path.realpath(folder) not in map(os.path.realpath, paths)
    assert "" not in paths
    assert paths[0] == "/elsewhere"
    assert any(path.endswith("site-packages") for path in paths)
