from __future__ import annotations

import json
import socket
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
from tests.unit.runtimes.upstream.peers import LOOPBACK, http, peer, saying, settings

import grpc
from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.protos import message
from maas.runtimes.upstream.document import Document
from maas.runtimes.upstream.runtime import UpstreamRuntime
from maas.testing.runtime import check_runtime

SIGNATURE = Signature(
    "serving_default",
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    True,
)


def artifact(folder: Path, url: str, **said) -> Artifact:
    (folder / "upstream.json").write_bytes(Document(url, **said).encode())
    return Artifact(str(folder), "upstream.json", "upstream", {"serving_default": SIGNATURE})


def doubling(connection: socket.socket, head: bytes) -> None:
    """An OIP server of one model, in JSON."""
    body = head.partition(b"\r\n\r\n")[2]
    x = json.loads(body)["inputs"][0]
    if x["shape"][1:] != [2]:
        connection.sendall(http(b'{"error": "two columns"}', "400 Bad Request"))
        return
    y = {"name": "y", "datatype": "FP32", "shape": x["shape"], "data": [2 * v for v in x["data"]]}
    connection.sendall(http(json.dumps({"outputs": [y]}).encode()))


def test_it_keeps_the_contract(tmp_path):
    with peer(doubling) as port:
        runtime = UpstreamRuntime(settings())
        rows = np.arange(8, dtype=np.float32).reshape(4, 2)
        check_runtime(runtime, artifact(tmp_path, f"oip+http://127.0.0.1:{port}/m"), {"x": rows})


def test_it_is_loaded_though_nobody_is_there(tmp_path):
    servable = UpstreamRuntime(settings()).load(
        artifact(tmp_path, "oip+http://127.0.0.1:9/m"), Device()
    )
    assert servable.remote
    assert servable.concurrency == 8
    with pytest.raises(MaasError, match="does not answer") as caught:
        servable.infer("serving_default", {"x": np.ones((1, 2), np.float32)})
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    servable.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"{}", "it is not what its protocol has"),
        (b'{"outputs": []}', "there is no output 'y'"),
        (
            b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}',
            r"comes as float32 \[1, 3\] where its signature has y FP32 \[n, 2\]",
        ),
        (
            b'{"outputs": [{"name": "y", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}]}',
            "comes as int64",
        ),
    ],
)
def test_answers_of_another_signature(tmp_path, answer, said):
    with peer(saying(http(answer))) as port:
        servable = UpstreamRuntime(settings()).load(
            artifact(tmp_path, f"oip+http://127.0.0.1:{port}/m"), Device()
        )
        with pytest.raises(MaasError, match=said) as caught:
            servable.infer("serving_default", {"x": np.ones((1, 2), np.float32)})
        servable.close()
    assert caught.value.kind is ErrorKind.INTERNAL


def test_json_that_the_protocol_does_not_have(tmp_path):
    servable = UpstreamRuntime(settings()).load(
        artifact(tmp_path, "oip+http://127.0.0.1:9/m"), Device()
    )
    with pytest.raises(MaasError, match="NaN or infinity") as caught:
        servable.infer("serving_default", {"x": np.full((1, 2), np.nan, np.float32)})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    servable.close()


def test_a_key_goes_to_its_server_alone(tmp_path):
    heard: list[bytes] = []

    def answer(connection: socket.socket, head: bytes) -> None:
        heard.append(head)
        doubling(connection, head)

    def ask(runtime: UpstreamRuntime, url: str) -> None:
        servable = runtime.load(artifact(tmp_path, url), Device())
        servable.infer("serving_default", {"x": np.ones((1, 2), np.float32)})
        servable.close()

    with peer(answer) as port, peer(answer) as other:
        keyed = settings(keys=(f"http://127.0.0.1:{port}=MODELS_KEY",))
        runtime = UpstreamRuntime(keyed, {"MODELS_KEY": " k3y\n"})
        ask(runtime, f"oip+http://127.0.0.1:{port}/m")
        ask(runtime, f"oip+http://127.0.0.1:{other}/m")
        assert b"Authorization: Bearer k3y\r\n" in heard[0]
        assert b"Authorization" not in heard[1]
        for environ in ({}, {"MODELS_KEY": "a\nb"}):
            with pytest.raises(MaasError, match=r"upstream\.keys") as caught:
                ask(UpstreamRuntime(keyed, environ), f"oip+http://127.0.0.1:{port}/m")
            assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


class Echo(grpc.GenericRpcHandler):
    """A gRPC server of one model: ModelInfer doubles, or does what a test says."""

    def __init__(self, infer):
        self._infer = infer

    def service(self, details):
        if details.method != "/inference.GRPCInferenceService/ModelInfer":
            return None
        return grpc.unary_unary_rpc_method_handler(self._infer)


@pytest.fixture
def grpc_peer():
    servers = []

    def start(infer) -> int:
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Echo(infer)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return port

    yield start
    for server in servers:
        server.stop(None).wait()


def doubled(data: bytes, context) -> bytes:
    request = message("inference.ModelInferRequest").FromString(data)
    x = np.frombuffer(request.raw_input_contents[0], np.float32)
    answer = message("inference.ModelInferResponse")()
    answer.outputs.add(name="y", datatype="FP32", shape=list(request.inputs[0].shape))
    answer.raw_output_contents.append((2 * x).tobytes())
    return answer.SerializeToString()


def call(tmp_path: Path, port: int, resolve=None, **about) -> np.ndarray:
    runtime = UpstreamRuntime(settings(**about), {}, resolve or (lambda host, port: [host]))
    servable = runtime.load(artifact(tmp_path, f"oip+grpc://127.0.0.1:{port}/m"), Device())
    try:
        return servable.infer("serving_default", {"x": np.ones((1, 2), np.float32)})["y"]
    finally:
        servable.close()


def test_grpc(tmp_path, grpc_peer):
    assert call(tmp_path, grpc_peer(doubled)).tolist() == [[2, 2]]


def failing(code: str, words: str):
    return lambda data, context: context.abort(getattr(grpc.StatusCode, code), words)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", ErrorKind.INVALID_ARGUMENT),
        ("NOT_FOUND", ErrorKind.UNAVAILABLE),
        ("PERMISSION_DENIED", ErrorKind.UNAVAILABLE),
        ("RESOURCE_EXHAUSTED", ErrorKind.RESOURCE_EXHAUSTED),
        ("UNAVAILABLE", ErrorKind.UNAVAILABLE),
        ("DATA_LOSS", ErrorKind.INTERNAL),
        ("UNKNOWN", ErrorKind.INTERNAL),
    ],
)
def test_grpc_errors(tmp_path, grpc_peer, code, kind):
    port = grpc_peer(failing(code, "no way to ipv4:10.0.0.7:5432 (db.internal:80)"))
    with pytest.raises(MaasError) as caught:
        call(tmp_path, port)
    assert caught.value.kind is kind
    assert "10.0.0.7" not in caught.value.message
    assert "db.internal" not in caught.value.message


def test_grpc_bounds(tmp_path, grpc_peer):
    with pytest.raises(MaasError, match=r"upstream\.answer_bytes") as caught:
        call(tmp_path, grpc_peer(lambda data, context: b"x" * (1 << 20)), answer_bytes=1 << 16)
    assert caught.value.kind is ErrorKind.INTERNAL
    with pytest.raises(MaasError) as caught:
        call(tmp_path, grpc_peer(lambda data, context: b"\xff" * 100))
    assert caught.value.kind is ErrorKind.INTERNAL
    with peer(lambda connection, _: None) as port, pytest.raises(MaasError) as caught:
        call(tmp_path, port, call_s=0.5)
    assert caught.value.kind in (ErrorKind.DEADLINE_EXCEEDED, ErrorKind.UNAVAILABLE)


def test_grpc_where_nobody_is(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MaasError, match="cannot be connected to") as caught:
        call(tmp_path, port)
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert "127.0.0.1" not in caught.value.message


def test_grpc_to_what_may_not_be_called(tmp_path, grpc_peer):
    port = grpc_peer(doubled)
    for networks, meaning in (((), "127.0.0.1"), (LOOPBACK, "169.254.169.254")):
        with pytest.raises(MaasError, match=r"upstream\.networks") as caught:
            call(tmp_path, port, lambda host, port, meaning=meaning: [meaning], networks=networks)
        assert caught.value.kind is ErrorKind.UNAVAILABLE
