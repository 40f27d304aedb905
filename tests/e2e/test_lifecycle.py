"""Starting, stopping, restarting; ports and folders that are taken; signals."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from tests import zoo
from tests.server import Server, free_port, marked, run_cli, wait_until

ROW = {"input_data": [[1, 2]]}
ONE_SECOND = 40_000
"""Steps of `zoo.slow` that take about a second."""


def ended(server: Server, timeout_s: float = 180) -> int:
    assert server.process is not None
    return server.process.wait(timeout_s)


def test_the_banner(start, front):
    server = start()
    text = server.banner
    assert text.startswith(f"maas 0.1.0 is ready at {server.url}\n")
    assert front in text
    assert "gRPC" in text
    assert str(server.home) in text
    assert "owner.key" in text
    [line] = re.findall(r"^  try +(.*)$", text, re.M)
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert b"ready" in done.stdout


def test_a_restart_keeps_everything(start, small_home):
    server = start("--auth", "required", like=small_home)
    made = server.api("POST", "/keys", {"name": "anna", "role": "caller"}).json()
    gone = server.api("POST", "/keys", {"name": "ben", "role": "caller"}).json()
    server.api("DELETE", f"/keys/{gone['record']['id']}")
    owner = server.key
    before = server.models()
    server.stop()
    server.start()
    assert server.key == owner
    assert server.models() == before
    for key, status in ((made["key"], 200), (gone["key"], 401)):
        headers = {"authorization": f"Bearer {key}"}
        for path, factor in (("/m/predict", 1), ("/m@prod/predict", 1), ("/m@next/predict", 2)):
            answer = server.post(path, ROW, headers=headers)
            assert answer.status_code == status
            if status == 200:
                assert answer.json()["prediction"] == [[factor, 2 * factor]]
    assert server.publish(small_home.parent / "counts.onnx", "counts").created is False


def test_serving_a_file(start_any, tmp_path):
    path = zoo.affine(tmp_path / "my model.onnx", 2)
    server = start_any(str(path), "--name", "m", "--alias", "prod", "--accuracy", "0.9")
    assert server.post("/m@prod/predict", ROW).json()["prediction"] == [[2, 4]]
    assert "m:1 published" in server.banner
    server.stop()
    server.start()
    assert "m:1 already there, unchanged" in server.banner
    [model] = server.models()
    assert len(model["versions"]) == 1
    assert server.post("/m/predict", ROW).json()["prediction"] == [[2, 4]]


def test_serving_several_files_under_their_own_names(start_any, tmp_path):
    files = [zoo.affine(tmp_path / f"{name}.onnx", 2) for name in ("a", "b")]
    server = start_any(*map(str, files), MAAS_OWNER_KEY="the-owners-own-key-0123456789")
    assert [model["name"] for model in server.models()] == ["a", "b"]
    assert not (server.home / "owner.key").exists()


def test_serving_a_bad_file(start_any, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(zoo.affine_bytes(2)[:-20])
    server = start_any(str(path), "--name", "m", wait=False)
    assert ended(server) == 1
    assert "error: 'm.onnx' begins like ONNX but is cut off" in server.err.read_text()
    assert "is ready at" not in server.banner
    assert marked(server.mark) == {}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("missing.onnx",), "no such file"),
        (("--port", "0"), "0"),
        (("--port", "99999"), "99999"),
        (("--port", "http"), "integer"),
        (("--front", "nginx"), "nginx"),
        (("--auth", "maybe"), "maybe"),
        (("--listen", "8000"), "HOST:PORT"),
        (("--workers", "2"), "workers"),
        (("--name", "m"), "--name"),
        (("--config", "missing.toml"), "missing.toml"),
        (("--nothing",), "--nothing"),
    ],
)
def test_wrong_command_lines(tmp_path, arguments, word):
    done = run_cli("serve", "--home", str(tmp_path / "home"), *arguments, cwd=tmp_path)
    assert done.code == 2, done
    assert word in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 3


def test_settings_from_a_file_and_from_variables(start_any, tmp_path):
    config = tmp_path / "maas.toml"
    config.write_text('[limits]\nbody_bytes = 100\n\n[server]\nauth = "required"\n')
    server = start_any("--config", str(config), MAAS_AUTH="open")
    answer = server.post("/predict", b" " * 101)
    assert answer.status_code == 413
    config.write_text("[limits]\nbody_byte = 100\n")
    done = run_cli("serve", "--config", str(config), env={**server.env})
    assert done.code == 2
    assert "body_byte" in done.err


def test_a_taken_port_names_its_holder(start):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        server = start(wait=False, port=port)
        assert ended(server) == 1
        said = server.err.read_text()
        assert f"port {port}" in said
        assert f"process {os.getpid()}" in said
        assert len(said.splitlines()) == 1
    assert marked(server.mark) == {}


def test_a_second_server_on_the_same_port(start):
    first = start()
    second = start(wait=False, port=first.port)
    assert ended(second) == 1
    assert f"port {first.port}" in second.err.read_text()
    assert first.get("/readyz").status_code == 200


def test_a_second_server_on_the_same_folder(start_any):
    first = start_any()
    second = start_any(wait=False, home=first.home)
    second.env["XDG_RUNTIME_DIR"] = first.env["XDG_RUNTIME_DIR"]
    assert ended(second) == 1
    said = second.err.read_text()
    assert f"process {first.pid}" in said
    assert "--home" in said
    assert first.get("/readyz").status_code == 200
    third = start_any(wait=False, home=first.home)  # with sockets elsewhere
    assert ended(third) == 1
    assert first.get("/readyz").status_code == 200
    assert first.api("GET", "/models").status_code == 200


def test_a_folder_that_is_none(start_any, tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    server = start_any(wait=False, home=file)
    assert ended(server) in (1, 2)
    assert "Traceback" not in server.err.read_text()
    assert str(file) in server.err.read_text()


def test_the_port_is_there_again_at_once(start):
    server = start()
    for _ in range(5):
        assert server.get("/readyz").status_code == 200
    server.stop()
    server.start()
    assert server.get("/readyz").status_code == 200


@pytest.fixture
def slow(start, tmp_path) -> Server:
    """A server with a model whose calls take as long as they say."""
    server: Server = start()
    server.publish(zoo.slow(tmp_path / "slow.onnx"), "slow")
    return server


def test_a_first_signal_lets_calls_end(slow, front):
    def call(index: int) -> tuple[int, object]:
        answer = requests.post(
            f"{slow.url}/slow/predict",
            json={"input_data": [[ONE_SECOND + index]]},
            timeout=60,
        )
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, index) for index in range(8)]
        time.sleep(0.7)
        assert not any(call.done() for call in calls)
        slow.process.send_signal(signal.SIGTERM if front == "envoy" else signal.SIGINT)
        found = [call.result() for call in calls]
    assert found == [(200, {"prediction": [[ONE_SECOND + index]]}) for index in range(8)]
    assert ended(slow) == 0
    assert marked(slow.mark) == {}


def test_a_signal_under_load_loses_nothing(start, small_home):
    """New connections may be refused while it ends; what was sent is answered."""
    server = start(like=small_home)
    lost: list[bytes] = []
    made: list[None] = []

    def call_until_refused() -> int:
        count = 0
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", server.port), 60)
            except OSError:
                return count
            with connection:
                body = b'{"input_data": [[1, 2, 3]]}'
                head = b"POST /counts/predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
                try:
                    connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
                    answer = b""
                    while part := connection.recv(4096):
                        answer += part
                except OSError as error:
                    answer = repr(error).encode()
            if b'{"prediction":[[6]]}' not in answer:
                lost.append(answer)
            made.append(None)
            count += 1

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call_until_refused) for _ in range(4)]
        wait_until(lambda: len(made) > 100, 60, "a hundred answers")
        server.process.send_signal(signal.SIGTERM)
        counts = [caller.result() for caller in callers]
    assert sum(counts) > 100
    # A connection that the kernel had taken and nobody had accepted yet is no call in flight.
    answered = [one for one in lost if one and b"ConnectionReset" not in one]
    assert answered == []
    assert len(lost) <= 4, lost
    assert ended(server) == 0


def test_a_second_signal_stops_at_once(slow):
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            requests.post,
            f"{slow.url}/slow/predict",
            json={"input_data": [[600 * ONE_SECOND]]},
            timeout=90,
        )
        time.sleep(0.7)
        slow.process.send_signal(signal.SIGINT)
        time.sleep(0.7)
        assert slow.process.poll() is None
        slow.process.send_signal(signal.SIGINT)
        assert ended(slow, 60) == 130
        assert marked(slow.mark) == {}
        with contextlib.suppress(requests.RequestException):
            assert call.result().status_code >= 500


def test_a_signal_before_it_is_ready(start_any):
    server = start_any(wait=False)
    give_up = time.monotonic() + 180
    # Its first child is there: until then it is a process like any other, which a signal ends.
    while len(marked(server.mark)) < 2 and time.monotonic() < give_up:
        time.sleep(0.02)
    server.process.send_signal(signal.SIGTERM)
    assert ended(server) == 0
    assert marked(server.mark) == {}


@pytest.mark.slow
def test_a_signal_while_publishing(start_any, tmp_path):
    server = start_any()
    path = zoo.iris(tmp_path / "iris.skops")
    publisher = subprocess.Popen(
        [sys.executable, "-m", "maas", "publish", str(path), "--name", "iris"],
        env=server.client_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: server.staged() != [], 10, "a staged upload")
    server.stop()
    out, err = publisher.communicate(timeout=30)
    assert publisher.returncode in (1, 3), (out, err)
    assert "Traceback" not in err
    server.start()
    # Either it was stored before the end, or there is nothing of it.
    states = [model["state"] for model in server.models()]
    assert states in ([], ["AVAILABLE"])
    assert server.staged() == []
    operation = server.publish(path, "iris")
    assert operation.created is (states == [])
    assert operation.version.version == 1


def test_another_listener(start, front, tmp_path):
    port = free_port()
    if front == "uvicorn":
        server = start("--listen", f"127.0.0.1:{port}", wait=False)
        assert ended(server) in (1, 2)
        assert "--listen needs the Envoy front" in server.err.read_text()
        return
    server = start("--listen", f"127.0.0.1:{port}")
    assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    assert server.get("/readyz").status_code == 200


def test_any_address_wants_keys(start, small_home):
    server = start("--host", "0.0.0.0", like=small_home)
    assert server.post("/counts/predict", {"input_data": [[1, 2, 3]]}).status_code == 401
    assert server.get("/readyz").status_code == 200
    # On all addresses, it may go by any name.
    assert server.api("GET", "/models", headers={"host": "models.example"}).status_code == 200


def test_nothing_is_imported_from_where_it_is_started(front, tmp_path):
    for name in ("json", "msgspec", "maas", "sitecustomize", "sklearn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the folder')")
    # `python -m maas` itself would import from there; the installed command does not.
    program = str(Path(sys.executable).with_name("maas"))
    server = Server(tmp_path / "home", front, cwd=tmp_path, program=(program,))
    try:
        server.start()
        server.publish(zoo.iris(tmp_path / "iris.skops"), "iris")
        server.stop()
    finally:
        server.close()
