"""TensorFlow Serving's gRPC services through the data plane, message in and message out."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from maas_test_plane import KEY, PUBLISHER, Server

from maas.core.tensor import DType, TensorSpec
from maas.dialects.tfserving.tensorproto import read_tensor, write_tensor
from maas.protos import message
from maas.serving.messages import PointModel, UnloadModel

PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
OK, INVALID, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION = 0, 3, 5, 7, 9
UNIMPLEMENTED, UNAVAILABLE, UNAUTHENTICATED = 12, 14, 16
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


class Called:
    """A call's end."""

    def __init__(self, sent: list[Mapping[str, Any]], answer: str):
        trailers = dict(sent[-1]["headers"])
        self.code = int(trailers[b"grpc-status"])
        self.sentence = unquote(trailers.get(b"grpc-message", b"").decode())
        body = b"".join(one.get("body", b"") for one in sent)
        if self.code == OK:
            flag, size = struct.unpack_from(">BI", body)
            assert (flag, size) == (0, len(body) - 5)
            self.answer = message(f"tensorflow.serving.{answer}").FromString(body[5:])


async def call(server: Server, path: str, request: Any, answer: str, key: str = "") -> Called:
    authorized = [(b"authorization", f"Bearer {key}".encode())] if key else []
    data = request if isinstance(request, bytes) else request.SerializeToString()
    messages = [
        {"type": "http.request", "body": struct.pack(">BI", 0, len(data)) + data},
    ]
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(part: Mapping[str, Any]) -> None:
        sent.append(part)

    scope = {
        "type": "http",
        "http_version": "2",
        "method": "POST",
        "raw_path": path.encode(),
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", b"application/grpc"), (b"te", b"trailers"), *authorized],
        "extensions": {"http.response.trailers": {}},
    }
    await server.plane(scope, receive, send)
    return Called(sent, answer)


def new(name: str, model: str = "iris", version: int = 0, label: str = "") -> Any:
    """A request with a model_spec."""
    request = message(f"tensorflow.serving.{name}")()
    request.model_spec.name = model
    if version:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    return request


def predict_request(rows: int = 2, **about: Any) -> Any:
    request = new("PredictRequest", **about)
    write_tensor(request.inputs["x"], np.arange(2.0 * rows, dtype=np.float32).reshape(rows, 2))
    return request


def with_examples(request: Any, *rows: list[float]) -> Any:
    for row in rows:
        made = request.input.example_list.examples.add()
        made.features.feature["x"].float_list.value.extend(row)
    return request


@pytest.mark.parametrize(
    ("about", "version"), [({}, 3), ({"version": 1}, 1), ({"label": "prod"}, 1)]
)
async def test_predict(server: Server, about: dict[str, Any], version: int) -> None:
    done = await call(server, PREDICTION + "Predict", predict_request(**about), "PredictResponse")
    assert done.code == OK
    spec = done.answer.model_spec
    assert (spec.name, spec.version.value) == ("iris", version)
    assert spec.signature_name == "serving_default"
    y = read_tensor(done.answer.outputs["y"], TensorSpec("y", DType.FP32, (None, 2)), "y")
    assert y.tolist() == [[0, 2], [4, 6]]
    assert server.requests() == {("tfserving-grpc", "predict", "0"): 1}


async def test_a_large_tensor(server: Server) -> None:
    request = predict_request(rows=20_000)
    done = await call(server, PREDICTION + "Predict", request, "PredictResponse")
    assert done.code == OK
    assert done.answer.outputs["y"].float_val[-1] == 79_998.0


async def test_classify(server: Server) -> None:
    request = with_examples(new("ClassificationRequest"), [1, 2], [3, 4])
    done = await call(server, PREDICTION + "Classify", request, "ClassificationResponse")
    rows = done.answer.result.classifications
    assert [[one.score for one in row.classes] for row in rows] == [[2, 4], [6, 8]]
    assert done.answer.model_spec.version.value == 3


async def test_many_examples(server: Server) -> None:
    request = with_examples(new("ClassificationRequest"), *[[1.0, 2.0]] * 9000)
    done = await call(server, PREDICTION + "Classify", request, "ClassificationResponse")
    assert len(done.answer.result.classifications) == 9000


async def test_multi_inference(server: Server) -> None:
    request = message("tensorflow.serving.MultiInferenceRequest")()
    task = request.tasks.add(method_name=CLASSIFY)
    task.model_spec.name = "iris"
    with_examples(request, [1, 2])
    done = await call(server, PREDICTION + "MultiInference", request, "MultiInferenceResponse")
    [result] = done.answer.results
    assert result.model_spec.version.value == 3
    assert [one.score for one in result.classification_result.classifications[0].classes] == [2, 4]


async def test_metadata(server: Server) -> None:
    request = new("GetModelMetadataRequest")
    request.metadata_field.append("signature_def")
    done = await call(server, PREDICTION + "GetModelMetadata", request, "GetModelMetadataResponse")
    table = message("tensorflow.serving.SignatureDefMap")()
    assert done.answer.metadata["signature_def"].Unpack(table)
    assert set(table.signature_def["serving_default"].inputs) == {"x"}


@pytest.mark.parametrize(
    ("about", "versions"), [({}, [3, 1]), ({"version": 1}, [1]), ({"label": "prod"}, [1])]
)
async def test_status(server: Server, about: dict[str, Any], versions: list[int]) -> None:
    request = new("GetModelStatusRequest", **about)
    done = await call(server, MODEL + "GetModelStatus", request, "GetModelStatusResponse")
    assert [one.version for one in done.answer.model_version_status] == versions
    assert {one.state for one in done.answer.model_version_status} == {50}


ODD = [
    ("Predict", predict_request(model="nobody"), NOT_FOUND, "there is no model 'nobody'"),
    ("Predict", predict_request(version=9), NOT_FOUND, "no version 9"),
    ("Predict", predict_request(label="x"), NOT_FOUND, "no alias 'x'"),
    ("Predict", predict_request(model="idle"), UNAVAILABLE, "idle:1 is still loading"),
    ("Predict", predict_request(model=""), INVALID, "model_spec has no name"),
    ("Predict", new("PredictRequest"), INVALID, "input 'x' is missing"),
    ("Predict", b"\xff", INVALID, "no tensorflow.serving.PredictRequest message"),
    ("Classify", new("ClassificationRequest"), INVALID, "input is empty"),
    ("Regress", with_examples(new("RegressionRequest"), [1, 2]), INVALID, "cannot regress"),
    ("Regress", b"\xff", INVALID, "no tensorflow.serving.RegressionRequest message"),
    ("MultiInference", b"", INVALID, "has no tasks"),
    ("GetModelMetadata", new("GetModelMetadataRequest"), INVALID, "metadata_field is empty"),
    ("Prophesy", b"", UNIMPLEMENTED, "there is no method"),
]


@pytest.mark.parametrize(("method", "request_", "code", "sentence"), ODD)
async def test_what_is_wrong_is_said(
    server: Server, method: str, request_: Any, code: int, sentence: str
) -> None:
    done = await call(server, PREDICTION + method, request_, "")
    assert done.code == code
    assert sentence in done.sentence


async def test_status_of_nobody(server: Server) -> None:
    for request, code in (
        (new("GetModelStatusRequest", "nobody"), NOT_FOUND),
        (new("GetModelStatusRequest", version=9), NOT_FOUND),
        (new("GetModelStatusRequest", model=""), INVALID),
    ):
        assert (await call(server, MODEL + "GetModelStatus", request, "")).code == code


async def test_a_key_is_needed(locked: Server) -> None:
    done = await call(locked, PREDICTION + "Predict", predict_request(), "PredictResponse")
    assert done.code == UNAUTHENTICATED


def reload_request(**models: dict[str, int]) -> Any:
    request = message("tensorflow.serving.ReloadConfigRequest")()
    request.config.model_config_list.SetInParent()
    for name, labels in models.items():
        config = request.config.model_config_list.config.add(
            name=name, base_path="/models/somewhere", model_platform="tensorflow"
        )
        config.version_labels.update(labels)
    return request


async def reload(server: Server, request: Any, key: str = "") -> Called:
    return await call(
        server, MODEL + "HandleReloadConfigRequest", request, "ReloadConfigResponse", key
    )


async def test_a_configuration_is_replaced(locked: Server) -> None:
    request = reload_request(iris={"canary": 1})
    request.config.model_config_list.config[0].model_version_policy.specific.versions.extend([1, 3])
    done = await reload(locked, request, PUBLISHER)
    assert done.code == OK, done.sentence
    assert done.answer.HasField("status")
    assert done.answer.status.error_code == 0
    first, *rest = locked.asked
    assert isinstance(first, PointModel)
    assert (first.name, first.version, first.aliases) == ("iris", 3, {"canary": 1})
    assert {type(one) for one in rest} == {UnloadModel}
    assert [one.name for one in rest] == sorted(locked.router.plan.models.keys() - {"iris"})


async def test_without_a_policy_the_newest_is_served_whatever_was_pinned(locked: Server) -> None:
    for choice in (None, "latest", "all"):
        request = reload_request(iris={})
        if choice:
            getattr(
                request.config.model_config_list.config[0].model_version_policy, choice
            ).SetInParent()
        assert (await reload(locked, request, PUBLISHER)).code == OK
        [point] = [one for one in locked.asked if isinstance(one, PointModel)]
        assert (point.name, point.version) == ("iris", 3)
        locked.asked.clear()


async def test_an_empty_list_unloads_everything(locked: Server) -> None:
    assert (await reload(locked, reload_request(), PUBLISHER)).code == OK
    assert len(locked.asked) == len(locked.router.plan.models)


async def test_nothing_is_done_where_a_part_cannot_be(locked: Server) -> None:
    done = await reload(locked, reload_request(iris={}, nobody={}), PUBLISHER)
    assert done.code == FAILED_PRECONDITION
    assert "'nobody' is not published here" in done.sentence
    assert "maas publish" in done.sentence
    done = await reload(locked, reload_request(iris={"canary": 9}), PUBLISHER)
    assert done.code == FAILED_PRECONDITION
    assert "'iris' has no version 9" in done.sentence
    assert locked.asked == []


async def test_reloading_needs_a_key_that_may_publish(server: Server, locked: Server) -> None:
    assert (await reload(server, reload_request(iris={}))).code == UNAUTHENTICATED
    done = await reload(locked, reload_request(iris={}), KEY)
    assert done.code == PERMISSION_DENIED
    assert "may not publish" in done.sentence
    assert (server.asked, locked.asked) == ([], [])
