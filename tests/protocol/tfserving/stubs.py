"""TensorFlow Serving's own stubs against a server, in a process by themselves.

`stubs.py PORT` runs every function named `check_…` and prints what failed, as JSON by name.
`stubs.py PORT KEY CONFIG` asks for another configuration, in its text form, and prints the code and
sentence that came back.
TensorFlow and other clients define protobuf messages of the same names, so that no two of them
live in one process.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
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

FLOWER = [5.1, 3.5, 1.4, 0.2]
TIMEOUT_S = 60
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
CODE = grpc.StatusCode
FAILURES = (AssertionError, LookupError, TypeError, ValueError, grpc.RpcError)


class Stubs:
    """Both services of a server."""

    def __init__(self, port):
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)


def name(spec, model, version=None, label=None, signature=""):
    spec.name = model
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    spec.signature_name = signature


def predict(stubs, model, inputs, outputs=(), **about):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    name(request.model_spec, model, **about)
    for key, value in inputs.items():
        proto = value if hasattr(value, "dtype") and hasattr(value, "float_val") else None
        request.inputs[key].CopyFrom(proto or tf.make_tensor_proto(value))
    return stubs.prediction.Predict(request, TIMEOUT_S)


def example(**features):
    kinds = {float: "float_list", int: "int64_list", bytes: "bytes_list"}
    made = tf.train.Example()
    for key, values in features.items():
        getattr(made.features.feature[key], kinds[type(values[0])]).value.extend(values)
    return made


def asking(kind, model, *examples, context=None, **about):
    request = kind()
    name(request.model_spec, model, **about)
    fill(request.input, examples, context)
    return request


def fill(given, examples, context=None):
    if context is None:
        given.example_list.examples.extend(examples)
    else:
        given.example_list_with_context.examples.extend(examples)
        given.example_list_with_context.context.CopyFrom(context)


def classify(stubs, *about, **more):
    request = asking(classification_pb2.ClassificationRequest, *about, **more)
    return stubs.prediction.Classify(request, TIMEOUT_S)


def regress(stubs, *about, **more):
    request = asking(regression_pb2.RegressionRequest, *about, **more)
    return stubs.prediction.Regress(request, TIMEOUT_S)


@contextmanager
def refused(code, word) -> Iterator[None]:
    found = None
    try:
        yield
    except grpc.RpcError as error:
        found = error
    assert found is not None, f"not refused with {code}"
    assert found.code() is code, (found.code(), found.details())
    assert word in found.details(), found.details()
    assert len(found.details()) >= 15


def check_predict_with_make_ndarray(stubs):
    answer = predict(stubs, "iris", {"x": np.array([FLOWER], np.float32)})
    assert tf.make_ndarray(answer.outputs["label"]).tolist() == [0]
    probabilities = tf.make_ndarray(answer.outputs["probabilities"])
    assert probabilities.shape == (1, 3)
    assert probabilities.dtype == np.float32


def check_predict_with_typed_fields(stubs):
    answer = predict(stubs, "counts", {"counts": np.array([[1, 2, 3], [4, 5, 6]])})
    assert list(answer.outputs["total"].int64_val) == [6, 15]
    answer = predict(stubs, "花", {"x": np.array([[1, 2]], np.float32)})
    assert list(answer.outputs["y"].float_val) == [2, 4]


def check_the_effective_model_spec(stubs):
    flower = {"x": np.array([FLOWER], np.float32)}
    for about, version, label in (
        ({}, 1, 0),
        ({"version": 2}, 2, 2),
        ({"label": "prod"}, 1, 0),
        ({"label": "next", "signature": "serving_default"}, 2, 2),
    ):
        answer = predict(stubs, "iris", flower, **about)
        spec = answer.model_spec
        assert (spec.name, spec.version.value) == ("iris", version)
        assert spec.signature_name == "serving_default"
        assert list(answer.outputs["label"].int64_val) == [label]


def check_texts(stubs):
    texts = np.array(["这 场 比赛 球队 赢 了".encode(), "新手机的芯片".encode()], object)
    answer = predict(stubs, "words", {"text": texts}, ["label"])
    labels = [label.decode() for label in answer.outputs["label"].string_val]
    assert labels[1] == "科技", labels


def check_output_filter(stubs):
    flower = {"x": np.array([FLOWER], np.float32)}
    assert set(predict(stubs, "iris", flower, ["label"]).outputs) == {"label"}
    with refused(CODE.INVALID_ARGUMENT, "'other'"):
        predict(stubs, "iris", flower, ["other"])
    with refused(CODE.INVALID_ARGUMENT, "more than once"):
        predict(stubs, "iris", flower, ["label", "label"])


def check_one_value_is_broadcast(stubs):
    proto = tf.make_tensor_proto(3.0, dtype=tf.float32, shape=[2, 2])
    assert len(proto.float_val) == 1
    answer = predict(stubs, "花", {"x": proto})
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [[6, 6], [6, 6]]


def check_a_large_tensor(stubs):
    rows = np.random.default_rng(0).random((100_000, 2), np.float32)
    answer = predict(stubs, "花", {"x": rows})
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), rows * 2)


def check_what_predict_refuses(stubs):
    x = np.array([[1, 2]], np.float32)
    for about, inputs, code, word in (
        ({"model": "nobody"}, {"x": x}, CODE.NOT_FOUND, "nobody"),
        ({"version": 9}, {"x": x}, CODE.NOT_FOUND, "9"),
        ({"label": "nobody"}, {"x": x}, CODE.NOT_FOUND, "nobody"),
        ({"model": ""}, {"x": x}, CODE.INVALID_ARGUMENT, "name"),
        ({"version": -1}, {"x": x}, CODE.INVALID_ARGUMENT, "-1"),
        ({"signature": "no"}, {"x": x}, CODE.INVALID_ARGUMENT, "'no'"),
        ({}, {}, CODE.INVALID_ARGUMENT, "'x'"),
        ({}, {"x": x, "y": x}, CODE.INVALID_ARGUMENT, "'y'"),
        ({}, {"x": x[:, :1]}, CODE.INVALID_ARGUMENT, "[n, 2]"),
        ({}, {"x": x.astype(np.float64)}, CODE.INVALID_ARGUMENT, "DT_DOUBLE"),
        ({}, {"x": np.array([["a", "b"]])}, CODE.INVALID_ARGUMENT, "DT_STRING"),
    ):
        about = {"model": "花", **about}
        with refused(code, word):
            predict(stubs, about.pop("model"), inputs, **about)


def check_tensors_that_contradict_themselves(stubs):
    good = tf.make_tensor_proto(np.array([[1, 2]], np.float32))
    short, both, vast, unknown, negative = (type(good)() for _ in range(5))
    for proto in (short, both, vast, unknown, negative):
        proto.CopyFrom(good)
    short.tensor_content = good.tensor_content[:-1]
    both.float_val.append(1)
    vast.ClearField("tensor_content")
    vast.float_val.append(1)
    vast.tensor_shape.dim[0].size = 1 << 40
    unknown.tensor_shape.unknown_rank = True
    negative.tensor_shape.dim[0].size = -1
    for proto, code, word in (
        (short, CODE.INVALID_ARGUMENT, "bytes of tensor_content"),
        (both, CODE.INVALID_ARGUMENT, "both"),
        (vast, CODE.RESOURCE_EXHAUSTED, "larger than"),
        (unknown, CODE.INVALID_ARGUMENT, "unknown rank"),
        (negative, CODE.INVALID_ARGUMENT, "negative"),
    ):
        with refused(code, word):
            predict(stubs, "花", {"x": proto})


def check_classify(stubs):
    answer = classify(stubs, "flowers", example(x=FLOWER), example(x=[6.7, 3.0, 5.2, 2.3]))
    best = [
        max(row.classes, key=lambda one: one.score).label for row in answer.result.classifications
    ]
    assert best == ["setosa", "virginica"]
    assert answer.model_spec.version.value == 1
    assert len(answer.result.classifications[0].classes) == 3


def check_regress(stubs):
    answer = regress(stubs, "counts", example(counts=[1, 2, 3]), example(counts=[4, 5, 6]))
    assert [one.value for one in answer.result.regressions] == [6, 15]


def check_a_context(stubs):
    answer = regress(stubs, "counts", example(other=[1]), context=example(counts=[1, 2, 3]))
    assert [one.value for one in answer.result.regressions] == [6]


def check_what_examples_refuse(stubs):
    with refused(CODE.INVALID_ARGUMENT, "input is empty"):
        request = classification_pb2.ClassificationRequest(model_spec={"name": "flowers"})
        stubs.prediction.Classify(request, TIMEOUT_S)
    with refused(CODE.INVALID_ARGUMENT, "no examples"):
        classify(stubs, "flowers", context=example(x=FLOWER))
    with refused(CODE.INVALID_ARGUMENT, "no feature 'x'"):
        classify(stubs, "flowers", example(y=FLOWER))
    with refused(CODE.INVALID_ARGUMENT, "cannot regress"):
        regress(stubs, "flowers", example(x=FLOWER))
    with refused(CODE.INVALID_ARGUMENT, "cannot classify"):
        classify(stubs, "pair", example(a=[1.0, 2.0], b=[1.0, 2.0]))
    with refused(CODE.NOT_FOUND, "nobody"):
        classify(stubs, "nobody", example(x=FLOWER))


def multi(stubs, *tasks, examples):
    request = inference_pb2.MultiInferenceRequest()
    for model, method in tasks:
        task = request.tasks.add(method_name=method)
        name(task.model_spec, model)
    fill(request.input, examples)
    return stubs.prediction.MultiInference(request, TIMEOUT_S)


def check_multi_inference(stubs):
    [result] = multi(stubs, ("flowers", CLASSIFY), examples=[example(x=FLOWER)]).results
    assert result.model_spec.version.value == 1
    assert len(result.classification_result.classifications) == 1
    [result] = multi(stubs, ("counts", REGRESS), examples=[example(counts=[1, 2, 3])]).results
    assert result.regression_result.regressions[0].value == 6


def check_what_multi_inference_refuses(stubs):
    flower = [example(x=FLOWER)]
    with refused(CODE.INVALID_ARGUMENT, "no tasks"):
        multi(stubs, examples=flower)
    with refused(CODE.INVALID_ARGUMENT, "again"):
        multi(stubs, ("flowers", CLASSIFY), ("flowers", CLASSIFY), examples=flower)
    with refused(CODE.INVALID_ARGUMENT, "the same model"):
        multi(stubs, ("flowers", CLASSIFY), ("iris", CLASSIFY), examples=flower)
    with refused(CODE.UNIMPLEMENTED, "method_name"):
        multi(stubs, ("flowers", "tensorflow/serving/predict"), examples=flower)


def metadata(stubs, model, *fields, **about):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    name(request.model_spec, model, **about)
    return stubs.prediction.GetModelMetadata(request, TIMEOUT_S)


def check_metadata(stubs):
    answer = metadata(stubs, "iris", "signature_def", label="next")
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("iris", 2)
    table = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(table)
    signature = table.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.inputs["x"].dtype == tf.float32.as_datatype_enum
    assert [dim.size for dim in signature.inputs["x"].tensor_shape.dim] == [-1, 4]
    assert set(signature.outputs) == {"label", "probabilities"}


def check_what_metadata_refuses(stubs):
    with refused(CODE.INVALID_ARGUMENT, "signature_def"):
        metadata(stubs, "iris")
    with refused(CODE.INVALID_ARGUMENT, "'other'"):
        metadata(stubs, "iris", "other")
    with refused(CODE.NOT_FOUND, "nobody"):
        metadata(stubs, "nobody", "signature_def")


def status(stubs, model, **about):
    request = get_model_status_pb2.GetModelStatusRequest()
    name(request.model_spec, model, **about)
    return stubs.model.GetModelStatus(request, TIMEOUT_S).model_version_status


def check_status(stubs):
    available = get_model_status_pb2.ModelVersionStatus.State.AVAILABLE
    assert [(one.version, one.state) for one in status(stubs, "iris")] == [
        (2, available), (1, available),
    ]  # fmt: skip
    assert all(one.status.error_code == 0 for one in status(stubs, "iris"))
    assert [one.version for one in status(stubs, "iris", version=2)] == [2]
    assert [one.version for one in status(stubs, "iris", label="prod")] == [1]


def check_what_status_refuses(stubs):
    for about in ({"model": "nobody"}, {"version": 9}, {"label": "nobody"}):
        about = {"model": "iris", **about}
        with refused(CODE.NOT_FOUND, "nobody" if "version" not in about else "9"):
            status(stubs, about.pop("model"), **about)


def check_reloading_needs_a_key(stubs):
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="iris")
    with refused(CODE.UNAUTHENTICATED, "key"):
        stubs.model.HandleReloadConfigRequest(request, TIMEOUT_S)


def check_compression(stubs):
    channel = grpc.insecure_channel(f"127.0.0.1:{stubs.port}", compression=grpc.Compression.Gzip)
    packed = Stubs(stubs.port)
    packed.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    rows = np.zeros((5_000, 2), np.float32)
    answer = predict(packed, "花", {"x": rows})
    assert tf.make_ndarray(answer.outputs["y"]).shape == (5_000, 2)


def check_many_at_once(stubs):
    request = predict_pb2.PredictRequest()
    name(request.model_spec, "花")
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([[1, 2]], np.float32)))
    calls = [stubs.prediction.Predict.future(request, TIMEOUT_S) for _ in range(64)]
    assert all(list(call.result().outputs["y"].float_val) == [2, 4] for call in calls)


def main(port: int) -> dict[str, str]:
    """Runs every check; gives what failed."""
    stubs = Stubs(port)
    failed = {}
    for key, check in list(globals().items()):
        if key.startswith("check_"):
            try:
                check(stubs)
            except FAILURES:
                failed[key] = traceback.format_exc()
    return failed


def reload(port: int, key: str, config: str) -> tuple[str, str]:
    """Asks for another configuration."""
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config, request.config)
    metadata_ = [("authorization", f"Bearer {key}")] if key else []
    try:
        answer = Stubs(port).model.HandleReloadConfigRequest(request, TIMEOUT_S, metadata=metadata_)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    assert answer.status.error_code == 0
    return "OK", answer.status.error_message


if __name__ == "__main__":
    port = int(sys.argv[1])
    sys.stdout.write(json.dumps(reload(port, *sys.argv[2:]) if sys.argv[2:] else main(port)))
