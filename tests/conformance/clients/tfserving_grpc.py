"""tensorflow-serving-api's stubs, with TensorFlow's own tensors."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from harness import FLOWER, KEY, raises, run
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

import grpc
from tensors import EVERY

KINDS = {
    "BOOL": tf.bool, "UINT8": tf.uint8, "UINT16": tf.uint16, "UINT32": tf.uint32,
    "UINT64": tf.uint64, "INT8": tf.int8, "INT16": tf.int16, "INT32": tf.int32,
    "INT64": tf.int64, "FP16": tf.float16, "FP32": tf.float32, "FP64": tf.float64,
    "BYTES": tf.string,
}  # fmt: skip


class Stubs:
    """Both services of one channel."""

    def __init__(self, address: str, channel: grpc.Channel):
        self.address = address
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)


def _predict(name: str = "iris", **inputs: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    for key, value in (inputs or {"x": np.array([FLOWER], np.float32)}).items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def _example(request: Any, name: str = "iris") -> Any:
    request.model_spec.name = name
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.extend(FLOWER)
    return request


def _refused(code: str, call: Callable[[], Any]) -> None:
    error = raises(grpc.RpcError, "", call)
    assert error.code().name == code, error
    assert len(error.details()) > 15


def check_predict(stubs: Stubs) -> None:
    """TFS-GRPC: Predict with `tensor_content`"""
    answer = stubs.predictions.Predict(_predict(), timeout=30)
    assert tf.make_ndarray(answer.outputs["label"]).tolist() == [0]
    assert tf.make_ndarray(answer.outputs["probabilities"]).shape == (1, 3)


def check_typed_values(stubs: Stubs) -> None:
    """TFS-GRPC: typed `*_val`"""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "counts"
    tensor = request.inputs["counts"]
    tensor.dtype = tf.int64.as_datatype_enum
    for size in (1, 3):
        tensor.tensor_shape.dim.add(size=size)
    tensor.int64_val.extend([1, 2, 3])
    answer = stubs.predictions.Predict(request, timeout=30)
    assert tf.make_ndarray(answer.outputs["total"]).tolist() == [[6]]


def check_broadcast(stubs: Stubs) -> None:
    """TFS-GRPC: a single value is broadcast to the shape"""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "counts"
    tensor = request.inputs["counts"]
    tensor.dtype = tf.int64.as_datatype_enum
    for size in (2, 3):
        tensor.tensor_shape.dim.add(size=size)
    tensor.int64_val.append(5)
    answer = stubs.predictions.Predict(request, timeout=30)
    assert tf.make_ndarray(answer.outputs["total"]).tolist() == [[15], [15]]


def check_every_dtype(stubs: Stubs) -> None:
    """TFS-GRPC: every dtype, strings and halves too"""
    inputs = {
        f"in_{kind.lower()}": tf.constant(EVERY[kind], dtype).numpy()
        for kind, dtype in KINDS.items()
    }
    answer = stubs.predictions.Predict(_predict("types", **inputs), timeout=30)
    for kind in KINDS:
        found = tf.make_ndarray(answer.outputs[f"out_{kind.lower()}"])
        assert found.tolist() == EVERY[kind].tolist(), kind
    value = tf.constant(EVERY["BF16"], tf.bfloat16)
    answer = stubs.predictions.Predict(_predict("bfloat", in_bf16=value), timeout=30)
    found = tf.make_ndarray(answer.outputs["out_bf16"]).astype(np.float32)
    assert found.tolist() == EVERY["BF16"].tolist()


def check_effective_spec(stubs: Stubs) -> None:
    """TFS-GRPC: the answer carries the effective ModelSpec"""
    spec = stubs.predictions.Predict(_predict(), timeout=30).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("iris", 1, "serving_default")


def check_versions(stubs: Stubs) -> None:
    """TFS-GRPC: `version` and `version_label`"""
    request = _predict()
    request.model_spec.version.value = 2
    answer = stubs.predictions.Predict(request, timeout=30)
    assert tf.make_ndarray(answer.outputs["label"]).tolist() == [2]
    request.model_spec.version_label = "prod"
    answer = stubs.predictions.Predict(request, timeout=30)
    assert answer.model_spec.version.value == 1


def check_signature_name(stubs: Stubs) -> None:
    """TFS-GRPC: `signature_name`; an unknown one is refused"""
    request = _predict()
    request.model_spec.signature_name = "serving_default"
    stubs.predictions.Predict(request, timeout=30)
    request.model_spec.signature_name = "nothing"
    _refused("INVALID_ARGUMENT", lambda: stubs.predictions.Predict(request, timeout=30))


def check_output_filter(stubs: Stubs) -> None:
    """TFS-GRPC: `output_filter`; unknown and duplicate names are INVALID_ARGUMENT"""
    request = _predict()
    request.output_filter.append("label")
    assert list(stubs.predictions.Predict(request, timeout=30).outputs) == ["label"]
    for names in (["nothing"], ["label", "label"]):
        wrong = _predict()
        wrong.output_filter.extend(names)
        _refused("INVALID_ARGUMENT", lambda wrong=wrong: stubs.predictions.Predict(wrong))


def check_classify(stubs: Stubs) -> None:
    """TFS-GRPC: Classify"""
    request = _example(classification_pb2.ClassificationRequest(), "flowers")
    answer = stubs.predictions.Classify(request, timeout=30)
    [found] = answer.result.classifications
    best = max(found.classes, key=lambda one: one.score)
    assert best.label == "setosa"


def check_regress(stubs: Stubs) -> None:
    """TFS-GRPC: Regress"""
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "mean"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.extend([1.0, 2.0])
    answer = stubs.predictions.Regress(request, timeout=30)
    assert answer.result.regressions[0].value == 1.5


def check_multi_inference(stubs: Stubs) -> None:
    """TFS-GRPC: MultiInference"""
    request = inference_pb2.MultiInferenceRequest()
    task = request.tasks.add(method_name="tensorflow/serving/classify")
    task.model_spec.name = "flowers"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.extend(FLOWER)
    [found] = stubs.predictions.MultiInference(request, timeout=30).results
    assert found.classification_result.classifications


def check_metadata(stubs: Stubs) -> None:
    """TFS-GRPC: GetModelMetadata with its `signature_def`"""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "iris"
    answer = stubs.predictions.GetModelMetadata(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    found = signatures.signature_def["serving_default"].inputs["x"]
    assert found.dtype == tf.float32.as_datatype_enum


def check_status(stubs: Stubs) -> None:
    """TFS-GRPC: ModelService.GetModelStatus"""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "iris"
    found = stubs.models.GetModelStatus(request, timeout=30).model_version_status
    assert {one.version for one in found} == {1, 2}
    assert all(one.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE for one in found)


def check_reload(stubs: Stubs) -> None:
    """TFS-GRPC: ModelService.HandleReloadConfigRequest replaces the whole config, with a key"""
    with urllib.request.urlopen(f"http://{stubs.address}/v1/models") as answer:
        names = json.load(answer)["models"]
    request = model_management_pb2.ReloadConfigRequest()
    for name in names:
        config = request.config.model_config_list.config.add(name=name, base_path="/unused")
        config.model_platform = "tensorflow"
        if name == "iris":
            config.model_version_policy.specific.versions.append(1)
            config.version_labels["prod"] = 1
            config.version_labels["next"] = 2
    _refused("UNAUTHENTICATED", lambda: stubs.models.HandleReloadConfigRequest(request))
    key = [("authorization", f"Bearer {KEY}")]
    answer = stubs.models.HandleReloadConfigRequest(request, timeout=60, metadata=key)
    assert answer.status.error_code == 0, answer
    request.config.model_config_list.config.add(name="nobody", base_path="/unused")
    call = lambda: stubs.models.HandleReloadConfigRequest(request, metadata=key)  # noqa: E731
    _refused("FAILED_PRECONDITION", call)
    stubs.predictions.Predict(_predict(), timeout=30)


def check_wrong(stubs: Stubs) -> None:
    """TFS-GRPC: an unknown model is NOT_FOUND; a missing input, a wrong dtype or shape refused"""
    _refused("NOT_FOUND", lambda: stubs.predictions.Predict(_predict("nobody"), timeout=30))
    for inputs in (
        {"y": np.array([FLOWER], np.float32)},
        {"x": np.array([[1, 2, 3, 4]], np.int32)},
        {"x": np.array([[1, 2]], np.float32)},
    ):
        request = _predict(**inputs)
        _refused("INVALID_ARGUMENT", lambda r=request: stubs.predictions.Predict(r, timeout=30))


def check_short_content(stubs: Stubs) -> None:
    """TFS-GRPC: `tensor_content` too short for its shape is INVALID_ARGUMENT"""
    request = _predict()
    request.inputs["x"].tensor_content = request.inputs["x"].tensor_content[:-1]
    _refused("INVALID_ARGUMENT", lambda: stubs.predictions.Predict(request, timeout=30))


@contextmanager
def connect(address: str) -> Iterator[Stubs]:
    """Opens a channel."""
    with grpc.insecure_channel(address) as channel:
        yield Stubs(address, channel)


if __name__ == "__main__":
    run(globals(), connect)
