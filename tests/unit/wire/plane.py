"""A data plane with an engine that stands in for the hosts, and a way to ask it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from maas.access import Authenticator, KeyEntry, Keyring, digest
from maas.core.identity import ModelRef
from maas.core.messages import CallContext, InferCall, InferReply, ModelView
from maas.core.signature import Signature
from maas.core.states import ServableState
from maas.core.tensor import DType, TensorSpec
from maas.serving.messages import Done, Question, Reply
from maas.serving.plan import SCHEMA, ModelPlan, Plan, VersionPlan
from maas.serving.router import Router
from maas.settings import LimitSettings, ServingSettings, Settings
from maas.telemetry.metrics import Metrics
from maas.wire.dataplane import DataPlane

KEY = "maas_" + "k" * 43
PUBLISHER = "maas_" + "p" * 43
IRIS = Signature(
    "serving_default",
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("y", DType.FP32, (None, 2)),),
    batched=True,
)
TEXT = Signature(
    "serving_default",
    (TensorSpec("text", DType.BYTES, (None,)),),
    (TensorSpec("label", DType.BYTES, (None,)),),
    batched=True,
)


def version(signature: Signature, state: ServableState = ServableState.END) -> VersionPlan:
    """One that no host holds, so that the router connects to none."""
    return VersionPlan(
        state, "", "host-1", "onnx", "onnxruntime_onnx", "/srv/secret", "m", "onnx",
        {signature.name: signature},
    )  # fmt: skip


PLAN = Plan(
    SCHEMA,
    "epoch",
    1,
    {
        "iris": ModelPlan({1: version(IRIS), 3: version(IRIS)}, 3, {"prod": 1}),
        "模型": ModelPlan({1: version(TEXT)}, 1, {}),
        "idle": ModelPlan({1: version(IRIS, ServableState.LOADING)}, None, {}),
    },
    {},
)


class Doubler:
    """Resolves against the router's plan; answers twice the numbers, or texts in capitals."""

    def __init__(self, router: Router):
        self._router = router
        self.calls: list[InferCall] = []
        self.error: Exception | None = None

    def resolve(self, ref: ModelRef, context: CallContext) -> ModelView:
        return self._router.resolve(ref, context)

    async def infer(self, call: InferCall) -> InferReply:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        outputs: dict[str, np.ndarray] = {}
        for spec, array in zip(call.signature.outputs, call.inputs.values(), strict=True):
            if spec.dtype is DType.BYTES:
                outputs[spec.name] = np.array([text.upper() for text in array], object)
            else:
                outputs[spec.name] = 2 * array
        return InferReply(call.servable, call.signature, outputs)


class Got:
    """An answer, as a client has it."""

    def __init__(self, messages: list[Mapping[str, Any]]):
        start, *rest = messages
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert len(self.headers) == len(start["headers"]), "a header was sent twice"
        self.body = b"".join(message.get("body", b"") for message in rest)

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Server:
    """A data plane, and a way to ask it."""

    def __init__(self, *, required: bool = False, ready: bool = True, **limits: float):
        self.ready = ready
        self.router = Router(ServingSettings(), 1000, 60.0, lambda _: None)
        self.engine = Doubler(self.router)
        self.metrics = Metrics()
        keys = ((KEY, "key_1", "ann", "caller"), (PUBLISHER, "key_2", "bob", "publisher"))
        ring = Keyring(1, tuple(KeyEntry(digest(key), *about) for key, *about in keys))
        self.authenticator = Authenticator(ring, required)
        self.plane = DataPlane(
            engine=self.engine,
            router=self.router,
            authenticator=self.authenticator,
            settings=Settings(limits=LimitSettings(**limits)),
            metrics=self.metrics,
            ready=lambda: self.ready,
            ask=self._ask_control,
        )
        self.asked: list[Question] = []
        self.told: Reply = Done()

    async def _ask_control(self, question: Question, timeout_s: float) -> Reply:
        self.asked.append(question)
        return self.told

    async def ask(
        self, method: str, path: str | bytes, body: bytes | object = b"", parts: int = 1,
        **headers: str | bytes,
    ) -> Got:  # fmt: skip
        """Sends a request; `x_request_id="a"` is a header."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        raw = path if isinstance(path, bytes) else path.encode()
        step = -(-len(body) // parts) or 1
        chunks = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
        messages: list[Mapping[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
            for index, chunk in enumerate(chunks)
        ]
        scope = {
            "type": "http",
            "method": method,
            "raw_path": raw,
            "path": raw.decode("latin-1"),
            "query_string": b"",
            "headers": [
                (name.replace("_", "-").encode(), v if isinstance(v, bytes) else v.encode())
                for name, v in headers.items()
            ],
        }
        sent: list[Mapping[str, Any]] = []

        async def receive() -> Mapping[str, Any]:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        await self.plane(scope, receive, send)
        return Got(sent)

    def requests(self) -> dict[tuple[str, ...], float]:
        return {
            labels: counter.count
            for (name, labels), counter in self.metrics.counters.items()
            if name == "maas_http_requests_total"
        }


PLAIN = {"input_data": [[1, 2], [3, 4]]}
OIP = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
ROWS = {"instances": [[1, 2], [3, 4]]}
POSTS = [
    ("/iris/predict", PLAIN),
    ("/v2/models/iris/infer", OIP),
    ("/v1/models/iris:predict", ROWS),
]
DIALECTS = ["plain", "oip", "tfserving"]


def message_of(got: Got, dialect: str) -> str:
    """Reads an error in its dialect's shape, and nothing besides."""
    error = got.json["error"]
    assert set(got.json) == {"error"}
    if dialect != "plain":
        assert isinstance(error, str)
        return error
    assert set(error) == {"kind", "message", "request_id"}
    assert error["request_id"] == got.headers["x-request-id"]
    message: str = error["message"]
    return message


GETS = {
    "/": "name", "/livez": "live", "/readyz": "ready", "/healthz": "ready", "/v2": "name",
    "/v2/health/live": "live", "/v2/health/ready": "ready", "/v2/models/iris": "inputs",
    "/v2/models/iris/versions/1": "inputs", "/v1/models/iris": "model_version_status",
    "/v1/models/iris/versions/1": "model_version_status", "/v1/models/iris/metadata": "metadata",
}  # fmt: skip
