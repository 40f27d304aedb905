"""A small real HTTP server with the control API's shapes and one OIP model, for the SDK and CLI.

It stores no model: it answers with the real structs, over a real socket, and remembers what came.
"""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from maas.core.records import (
    EngineTiming,
    ErrorBody,
    ImportRecord,
    KeyRecord,
    ModelRecord,
    NewKey,
    Operation,
    OperationEvent,
    OperationState,
    Page,
    Parity,
    ProcessRecord,
    Report,
    Role,
    ServerInfo,
    VersionRecord,
)
from maas.core.signature import Signature
from maas.core.states import ServableState
from maas.core.tensor import DType, TensorSpec

KEY = "maas_owner-key-of-the-stub"

REPORT = Report(
    format="skops",
    engine="onnx",
    platform="onnxruntime_onnx",
    host="shared",
    lowered=True,
    reason="lowered to ONNX: it agrees with scikit-learn and is faster",
    written_with={"scikit-learn": "1.7.2"},
    read_with={"scikit-learn": "1.9.1", "onnxruntime": "1.23.0"},
    parity=Parity(512, "model", 1e-7, 2e-7, 3, True),
    batch_note="rows run together equal rows run apart",
    timings=(EngineTiming("onnx", 3.5, 0.13, 32), EngineTiming("sklearn", 80.0, 3.0, 32)),
    warnings=("written with an older scikit-learn",),
    size_bytes=1234,
    memory_bytes=5_000_000,
)
IRIS = Signature(
    "serving_default",
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (
        TensorSpec("label", DType.INT64, (None,), ("setosa", "versicolor", "virginica")),
        TensorSpec("probabilities", DType.FP32, (None, 3)),
    ),
    batched=True,
)


def make_version(name: str, number: int, **fields: Any) -> VersionRecord:
    return VersionRecord(
        name=name,
        version=number,
        digest="sha256:" + "ab" * 32,
        created_at="2026-01-02T03:04:05Z",
        created_by="owner",
        signatures={IRIS.name: IRIS},
        report=REPORT,
        **{"state": ServableState.AVAILABLE, **fields},
    )


def make_model(name: str, numbers: tuple[int, ...] = (2, 1), **fields: Any) -> ModelRecord:
    defaults: dict[str, Any] = {
        "default_version": numbers[0],
        "serving_version": numbers[0],
        "previous_version": None,
        "aliases": {"prod": numbers[-1]},
        "state": ServableState.AVAILABLE,
    }
    return ModelRecord(
        name=name,
        created_at="2026-01-02T03:04:05Z",
        versions=tuple(make_version(name, number) for number in numbers),
        **{**defaults, **fields},
    )


class Seen(msgspec.Struct):
    """One request, as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes


class Stub:
    """The server's state, which tests set and read.

    `handlers` maps `METHOD /path` to a function of the request that answers (status, body), where
    the body is a struct, bytes, or a list of byte chunks sent one by one; other routes answer 404.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.handlers: dict[str, Callable[[Seen], tuple[int, Any]]] = {}
        self.headers: dict[str, str] = {}
        self.key = KEY
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()
        self._defaults()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def on(self, route: str, status: int, body: Any) -> None:
        self.handlers[route] = lambda _seen: (status, body)

    def fail(self, route: str, status: int, kind: str, message: str) -> None:
        self.on(route, status, {"error": ErrorBody(kind, message, "req-1")})

    def paths(self) -> list[str]:
        return [f"{seen.method} {seen.path}" for seen in self.seen]

    def last(self, method: str) -> Seen:
        return next(seen for seen in reversed(self.seen) if seen.method == method)

    def _defaults(self) -> None:
        iris = make_model("iris")
        started = "2026-01-02T03:04:05Z"
        info = ServerInfo("0.1.0", self.url, "envoy", True, "open", "", True, started)
        self.on("GET /api", 200, info)
        self.on("GET /readyz", 200, b"{}")
        self.on("GET /api/models", 200, Page((iris,)))
        self.on("GET /api/models/iris", 200, iris)
        self.on("GET /api/models/iris/versions/2", 200, iris.versions[0])
        self.on("PATCH /api/models/iris/versions/2", 200, iris.versions[0])
        self.on("DELETE /api/models/iris", 204, b"")
        self.on("DELETE /api/models/iris/versions/2", 204, b"")
        self.on("PUT /api/models/iris/aliases/prod", 200, iris)
        self.on("DELETE /api/models/iris/aliases/prod", 200, iris)
        self.on("POST /api/models/iris/rollback", 200, make_model("iris", default_version=1))
        self.on("PUT /api/deployments/iris", 200, iris)
        process = ProcessRecord("host-1", "host", 42, "ready", ("iris:2",), 50_000_000, 1.5,
                                "2026-01-02T03:04:05Z", 1, "killed by signal 9")  # fmt: skip
        self.on("GET /api/processes", 200, {"processes": [process]})
        found = ImportRecord("iris", "2", 2, "imported")
        self.on("GET /api/imports", 200, {"imports": [found]})
        record = KeyRecord("k1", "anna", Role.CALLER, "2026-01-02T03:04:05Z")
        self.on("POST /api/keys", 201, NewKey(record, "maas_new"))
        self.on("GET /api/keys", 200, {"keys": [record]})
        self.on("DELETE /api/keys/k1", 200, record)
        self.on(
            "POST /api/models/iris/versions", 202, Operation("op1", OperationState.RUNNING, "iris")
        )
        self.publish_ends(Operation("op1", OperationState.SUCCEEDED, "iris", (),
                                    iris.versions[0], created=True))  # fmt: skip
        lines = [
            {"time": "t1", "process": "host-1", "model": "iris", "level": "info", "message": "花"},
            {"time": "t2", "process": "host-1", "model": "iris", "level": "error",
             "message": "\x1b[31mred"},
        ]  # fmt: skip
        text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode() + b"\n"
        self.on("GET /api/models/iris/logs", 200, [text[:75], text[75:80], text[80:]])
        self.on("GET /api/logs", 200, [text])
        for name in ("iris", "iris@prod", "iris/versions/2"):
            self.on(f"GET /v2/models/{name}", 200, oip_metadata(IRIS))
            self.handlers[f"POST /v2/models/{name}/infer"] = infer_iris

    def publish_ends(self, operation: Operation) -> None:
        steps = [
            OperationEvent(1, "detect", "a skops file", 0.1),
            OperationEvent(2, "prove", "512 samples agree", 0.9),
        ]
        chunks = [event_bytes("step", step, step.sequence) for step in steps]
        self.on("GET /api/operations/op1/events", 200, [*chunks, event_bytes("done", operation)])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_arguments: Any) -> None:
                pass

            def answer(self) -> None:
                parts = urlsplit(self.path)
                body = self._body()
                headers = {key.lower(): value for key, value in self.headers.items()}
                query = parse_qsl(parts.query, keep_blank_values=True)
                seen = Seen(self.command, unquote(parts.path), query, headers, body)
                stub.seen.append(seen)
                handler = stub.handlers.get(f"{seen.method} {seen.path}")
                status, answer = 404, {"error": ErrorBody("not_found", "there is no such thing")}
                wants_key = seen.path.startswith("/api")
                if wants_key and headers.get("authorization") != f"Bearer {stub.key}":
                    status, answer = 401, {"error": ErrorBody("unauthenticated", "a key is needed")}
                elif handler is not None:
                    status, answer = handler(seen)
                self._send(status, answer)

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding") == "chunked":
                    raise AssertionError("bodies come with their length")
                return self.rfile.read(int(self.headers.get("content-length") or 0))

            def _send(self, status: int, answer: Any) -> None:
                self.send_response(status)
                for name, value in stub.headers.items():
                    self.send_header(name, value)
                if isinstance(answer, list):
                    self.send_header("Connection", "close")
                    self.end_headers()
                    for chunk in answer:
                        self.wfile.write(chunk)
                        self.wfile.flush()
                    self.close_connection = True
                    return
                data = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        return Handler


def event_bytes(name: str, value: Any, number: int | None = None) -> bytes:
    lines = [] if number is None else [f"id: {number}".encode()]
    lines += [f"event: {name}".encode(), b"data: " + msgspec.json.encode(value)]
    return b"\n".join(lines) + b"\n\n"


def oip_metadata(signature: Signature) -> dict[str, Any]:
    def tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        return [
            {
                "name": spec.name,
                "datatype": spec.dtype,
                "shape": [-1 if size is None else size for size in spec.shape],
            }
            for spec in specs
        ]

    return {
        "name": "iris",
        "versions": ["2"],
        "platform": "onnxruntime_onnx",
        "inputs": tensors(signature.inputs),
        "outputs": tensors(signature.outputs),
    }


def infer_iris(seen: Seen) -> tuple[int, Any]:
    """Answers a row's label as the index of its largest feature, modulo 3."""
    request = json.loads(seen.body)
    (tensor,) = request["inputs"]
    rows, width = tensor["shape"]
    data = [tensor["data"][row * width : (row + 1) * width] for row in range(rows)]
    labels = [max(range(width), key=row.__getitem__) % 3 for row in data]
    scores = [float(label == each) for label in labels for each in range(3)]
    outputs = [
        {"name": "label", "datatype": "INT64", "shape": [rows], "data": labels},
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [rows, 3],
            "data": scores,
        },
    ]
    wanted = [each["name"] for each in request.get("outputs", ())]
    outputs = [each for each in outputs if not wanted or each["name"] in wanted]
    return 200, {"model_name": "iris", "model_version": "2", "outputs": outputs}


def untar(body: bytes) -> dict[str, bytes]:
    """Reads a tar stream with the standard library, as a stream."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(body), mode="r|") as archive:
        for member in archive:
            assert member.isreg()
            content = archive.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
    return found
