from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from maas_stub_server import KEY, Stub

from maas.cli import checks, ports
from maas.cli.checks import Status
from maas.client import Client
from maas.core.records import ImportRecord, Page, ProcessRecord
from maas.runtimes.onnx_gpu import OnnxCudaRuntime


@pytest.fixture
def listener() -> Any:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def test_a_server_that_is_well(stub: Stub, maas: Any, home: Path) -> None:
    home.mkdir()
    result = maas("doctor")
    assert result.code == 0, result
    assert "ok    server" in result.out
    assert "front envoy, gRPC on" in result.out
    names = {check["name"] for check in json.loads(maas("doctor", "--json").out)}
    assert names == {
        "python", "libpython", "envoy", "sklearn", "tensorflow", "xgboost", "lightgbm", "torch",
        "openvino", "grpc", "bench", "gpu", "data folder", "owner key", "server", "iris",
    }  # fmt: skip


def test_models_that_do_not_serve_are_named(stub: Stub, maas: Any, home: Path) -> None:
    home.mkdir()
    with Client(stub.url, KEY) as client:
        (iris,) = client.models()
    down = msgspec.structs.replace(iris, name="down", serving_version=None, reason="it ended")
    stub.on("GET /api/models", 200, Page((iris, down)))
    process = ProcessRecord(
        "host-2",
        "host",
        7,
        "running",
        ("slow:3",),
        1,
        0.1,
        "2026-01-01T00:00:00Z",
        2,
        "exit status 3",
    )
    quiet = msgspec.structs.replace(process, models=("iris:2",), restarts=0)
    stub.on("GET /api/processes", 200, {"processes": [process, quiet]})
    result = maas("doctor")
    assert result.code == 0, result
    assert "warn  down         does not serve: it ended" in result.out
    assert "warn  slow         its process died, restarts: 2 (exit status 3)" in result.out
    assert "cure: maas logs slow" in result.out
    assert "iris" not in result.out


def test_what_was_refused_in_a_watched_folder_is_named(stub: Stub, maas: Any, home: Path) -> None:
    home.mkdir()
    found = [
        ImportRecord("iris", "2", 2, "imported"),
        ImportRecord("iris", "3", 3, "refused", "it is cut off"),
        ImportRecord(
            "iris", "04", 4, "refused", "it is a pickle; publish it with --trust, which runs it"
        ),
        ImportRecord("", "bad name", None, "refused", "it is not a model name"),
    ]
    stub.on("GET /api/imports", 200, {"imports": found})
    result = maas("doctor")
    assert result.code == 0, result
    assert "warn  iris:3       it is cut off" in result.out
    assert "cure: change what is in the folder" in result.out
    assert "warn  iris:4       04: it is a pickle" in result.out
    assert "cure: start the server with --trust" in result.out
    assert "warn  bad name     bad name: it is not a model name" in result.out
    assert "iris:2" not in result.out


def test_a_key_others_can_read_fails_with_its_cure(stub: Stub, maas: Any, home: Path) -> None:
    home.mkdir()
    key = home / "owner.key"
    key.write_text("k")
    key.chmod(0o644)
    result = maas("doctor")
    assert result.code == 1
    assert "fail  owner key" in result.out
    assert f"cure: chmod 600 {key}" in result.out
    key.chmod(0o600)
    assert checks.check_owner_key(home).status is Status.OK


def test_a_port_that_something_else_holds_names_it(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert not ports.is_free("127.0.0.1", port)
    assert f"(pid {os.getpid()})" in ports.holder(port)


def test_a_free_port() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    assert ports.is_free("127.0.0.1", port)
    check = checks.check_server(f"http://127.0.0.1:{port}", "k")
    assert (check.status, check.cure) == (Status.WARN, "maas serve")
    assert "another user" in ports.holder(port)


def test_a_port_held_without_answering_http() -> None:
    with socket.socket() as server:
        # Bound and not listening: connections are refused, and nobody else can have it.
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        check = checks.check_server(f"http://127.0.0.1:{port}", "k")
    assert check.status is Status.FAIL
    assert f"port {port} is held" in check.detail


def test_a_remote_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    check = checks.check_server("http://maas.invalid:80", "k")
    assert check.status is Status.FAIL
    assert "maas serve --port" not in check.cure


def test_a_server_that_refuses_the_key(stub: Stub) -> None:
    check = checks.check_server(stub.url, "maas_wrong")
    assert check.status is Status.WARN
    assert "--key" in check.cure


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert checks.check_home(tmp_path / "file").status is Status.FAIL
    check = checks.check_home(tmp_path / "new" / "deep")
    assert "GB free" in check.detail
    assert not (tmp_path / "new").exists()


def test_python() -> None:
    assert checks.check_python().status is Status.OK
    assert checks.check_python((3, 10, 4)).status is Status.FAIL
    assert sys.executable in checks.check_python().detail


def test_what_is_missing_names_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _name: None)
    first, *others = checks.check_extras()
    assert first.status is Status.WARN
    assert "pip install 'maas-server[sklearn]'" in first.cure
    assert [other.cure for other in others] == [
        f"pip install 'maas-server[{extra}]'"
        for extra in ("tensorflow", "xgboost", "lightgbm", "torch", "openvino", "grpc", "bench")
    ]
    assert {other.status for other in others} == {Status.OK}
    assert checks.check_front().status is Status.WARN


def test_a_gpu_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    none = OnnxCudaRuntime((str(tmp_path / "nvidiactl"),), tmp_path)
    assert checks.check_gpu([none]).status is Status.OK
    assert "run on the processor" in checks.check_gpu([none]).detail
    assert checks.check_gpu().name == "gpu"
    (tmp_path / "nvidiactl").touch()
    lacking = checks.check_gpu([none])
    assert lacking.status is Status.WARN
    assert "this ONNX Runtime has no CUDA provider" in lacking.detail
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in lacking.cure
    (tmp_path / "libonnxruntime_providers_cuda.so").touch()
    assert checks.check_gpu([none]).detail == "engines onnx-cuda are raced at publish"


def test_libpython_is_a_file_or_a_warning_with_a_cure() -> None:
    check = checks.check_libpython()
    if check.status is Status.OK:
        assert Path(check.detail).is_file()
    else:
        assert check.cure
