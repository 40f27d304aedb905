from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from maas_stub_server import KEY, Seen, Stub, event_bytes, make_model, make_version, untar

import maas
from maas.client import ApiError, Client, ServerUnreachable
from maas.core.errors import ErrorKind, MaasError
from maas.core.records import (
    ErrorBody,
    Operation,
    OperationEvent,
    OperationState,
    Page,
    PublishOptions,
)

ROW = [5.1, 3.5, 1.4, 0.2]


def test_every_method_over_a_socket(stub: Stub) -> None:
    with Client(stub.url, KEY) as client:
        assert client.info().front == "envoy"
        assert client.ready()
        assert [model.name for model in client.models()] == ["iris"]
        assert client.model("iris").serving_version == 2
        assert client.version("iris", 2).report.engine == "onnx"
        assert client.alias("iris", "prod", 2).name == "iris"
        assert client.delete_alias("iris", "prod").name == "iris"
        assert client.rollback("iris").default_version == 1
        assert client.deploy("iris", {2: 100}).name == "iris"
        assert client.patch("iris", 2, tags={"a": "b"}, metrics={"m": 1}).version == 2
        client.delete("iris", 2)
        client.delete("iris")
        assert client.processes()[0].models == ("iris:2",)
        assert client.imports()[0].state == "imported"
        assert client.create_key("anna", "caller").key == "maas_new"
        assert client.keys()[0].name == "anna"
        assert client.revoke_key("k1").id == "k1"
        assert [line.message for line in client.logs("iris")] == ["花", "\x1b[31mred"]
        assert len(list(client.logs(lines=5, follow=True))) == 2
    assert stub.last("GET").query == [("lines", "5"), ("follow", "true")]
    assert all(seen.headers["authorization"] == f"Bearer {KEY}" for seen in stub.seen)


def test_models_pages(stub: Stub) -> None:
    def answer(seen: Seen) -> tuple[int, Page]:
        if ("cursor", "a b/花") in seen.query:
            return 200, Page((make_model("two"),))
        return 200, Page((make_model("one"),), "a b/花")

    stub.handlers["GET /api/models"] = answer
    with Client(stub.url, KEY) as client:
        assert [model.name for model in client.models()] == ["one", "two"]


def test_predict(stub: Stub) -> None:
    with Client(stub.url, KEY) as client:
        answer = client.predict("iris", [ROW, ROW[::-1]])
        assert answer["label"].tolist() == [0, 0]
        assert answer["label"].dtype == np.int64
        assert answer["probabilities"].shape == (2, 3)
        assert client.predict("iris", ROW)["label"].shape == ()
        assert list(client.predict("iris@prod", [ROW], outputs=["label"])) == ["label"]
        client.predict("iris:2", [ROW])
    assert stub.paths().count("GET /v2/models/iris") == 1
    assert "POST /v2/models/iris@prod/infer" in stub.paths()
    assert "POST /v2/models/iris/versions/2/infer" in stub.paths()


def test_a_server_error_keeps_its_kind_sentence_and_request(stub: Stub) -> None:
    stub.fail("POST /api/models/iris/rollback", 412, "failed_precondition", "nothing before it")
    with Client(stub.url, KEY) as client, pytest.raises(ApiError, match="nothing before") as caught:
        client.rollback("iris")
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert caught.value.request_id == "req-1"
    assert isinstance(caught.value, MaasError)


def test_a_wrong_key(stub: Stub) -> None:
    with Client(stub.url, "maas_wrong") as client:
        with pytest.raises(ApiError) as caught:
            client.models()
        assert caught.value.kind is ErrorKind.UNAUTHENTICATED
        with pytest.raises(ApiError) as caught:
            list(client.logs())
        assert caught.value.kind is ErrorKind.UNAUTHENTICATED


def test_the_local_owners_key_is_found(stub: Stub) -> None:
    home = Path(os.environ["MAAS_HOME"])
    home.mkdir()
    (home / "owner.key").write_text(KEY + "\n")
    with Client(stub.url) as client:
        assert client.info().ready


def test_nothing_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client:
        assert not client.ready()
        with pytest.raises(ServerUnreachable, match=r"Connection refused.*maas serve") as caught:
            client.models()
    assert "Errno" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_host_that_is_not_loopback_goes_through_the_proxy() -> None:
    # The environment's proxy listens nowhere, so the connection that is refused is the proxy's.
    with Client("http://maas.invalid", "k") as client, pytest.raises(ServerUnreachable) as caught:
        client.models()
    assert "refused" in caught.value.message


def test_no_answer_in_time(stub: Stub) -> None:
    release = threading.Event()

    def wait(_seen: Seen) -> tuple[int, bytes]:
        release.wait(10)
        return 200, b"{}"

    stub.handlers["GET /api"] = wait
    with Client(stub.url, KEY, timeout_s=0.05) as client:
        with pytest.raises(ApiError, match=r"within 0\.05 s") as caught:
            client.info()
        release.set()
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_time_that_is_none(timeout_s: float) -> None:
    with pytest.raises(MaasError, match="timeout_s"):
        Client("http://127.0.0.1:1", "k", timeout_s=timeout_s)


def test_publish_a_file(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "iris.skops"
    file.write_bytes(os.urandom(1_000_000))
    steps: list[OperationEvent] = []
    with Client(stub.url, KEY) as client:
        version = client.publish(
            file, "iris", alias="prod", accuracy=0.97, metrics={"n": 1}, progress=steps.append
        )
    assert version == make_version("iris", 2)
    seen = stub.last("POST")
    assert seen.body == file.read_bytes()
    assert seen.headers["content-type"] == "application/octet-stream"
    assert ("alias", "prod") in seen.query
    assert ("metric", "n=1.0") in seen.query
    assert [step.stage for step in steps] == ["upload", "detect", "prove"]


def test_publish_a_folder_with_a_sample(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_bytes(b"onnx")
    with Client(stub.url, KEY) as client:
        client.publish(tmp_path / "m", "iris", sample=[ROW])
    seen = stub.last("POST")
    assert seen.headers["content-type"] == "application/x-tar"
    assert set(untar(seen.body)) == {"model/model.onnx", "sample/sample.npy"}


def test_a_job_that_fails(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"x")
    error = ErrorBody("invalid_argument", "this is a pickle", "req-9")
    stub.publish_ends(Operation("op1", OperationState.FAILED, "iris", error=error))
    with Client(stub.url, KEY) as client:
        with pytest.raises(ApiError, match="this is a pickle") as caught:
            client.publish(file, "iris")
        assert caught.value.request_id == "req-9"
        assert client.publish_job(file, "iris", PublishOptions()).error == error


def test_an_upload_that_is_refused(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"x")
    stub.fail("POST /api/models/iris/versions", 413, "too_large", "at most 16 GiB")
    with Client(stub.url, KEY) as client, pytest.raises(ApiError, match="16 GiB") as caught:
        client.publish(file, "iris")
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_an_event_stream_that_breaks_is_taken_up_again(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"x")
    steps = [OperationEvent(n, "prove", "", n / 10) for n in (1, 2, 3)]
    chunks = [event_bytes("step", step, step.sequence) for step in steps]
    done = event_bytes(
        "done",
        Operation("op1", OperationState.SUCCEEDED, "iris", version=make_version("iris", 2)),
    )
    answers = [[chunks[0], chunks[1][:10]], None, [chunks[1], chunks[2], done]]
    lasts: list[str | None] = []

    def events(seen: Seen) -> tuple[int, object]:
        lasts.append(seen.headers.get("last-event-id"))
        answer = answers.pop(0)
        if answer is None:
            return 503, {"error": ErrorBody("unavailable", "control restarts")}
        return 200, answer

    stub.handlers["GET /api/operations/op1/events"] = events
    seen_steps: list[OperationEvent] = []
    with Client(stub.url, KEY) as client:
        client.publish(file, "iris", progress=seen_steps.append)
    assert seen_steps[1:] == steps
    assert lasts == [None, "1", "1"]


def test_a_job_that_the_server_forgot(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"x")
    stub.fail("GET /api/operations/op1/events", 404, "not_found", "no operation op1")
    with Client(stub.url, KEY) as client, pytest.raises(ApiError, match="no operation op1"):
        client.publish(file, "iris")


def test_a_connection_that_is_reset_while_it_answers() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def reset() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()

        thread = threading.Thread(target=reset)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, "k") as client, pytest.raises(ServerUnreachable, match="broke"):
            client.info()
        thread.join()


def test_importing_it_brings_in_no_server_and_no_http() -> None:
    code = (
        "import sys, maas; maas.Client; "
        "heavy = {'httpx', 'litestar', 'uvicorn', 'sqlalchemy', 'onnxruntime', 'onnx', 'typer',"
        " 'rich', 'prometheus_client', 'pandas', 'maas.settings'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert maas.Client is Client
