"""Answers, metadata and health of the Open Inference Protocol."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.encode import (
    encode_error,
    encode_infer,
    encode_live,
    encode_model_metadata,
    encode_ready,
    encode_server_metadata,
)
from maas.dialects.oip.request import InferRequest


def written(answer, request):
    text, length = encode_infer(answer, request)
    assert length is None
    return text


def asked(view, **members):
    return InferRequest(view.signatures["serving_default"], {}, 1, **members)


def test_an_answer(iris, reply):
    answer = reply(iris, label=[0, 1], probabilities=[[0.9, 0.06, 0.04], [0, 1, 0]])
    assert json.loads(written(answer, asked(iris, id="4é2"))) == {
        "model_name": "m",
        "model_version": "3",
        "id": "4é2",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 1]},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 3],
                "data": [0.9, 0.06, 0.04, 0.0, 1.0, 0.0],
            },
        ],
    }
    assert "id" not in json.loads(written(answer, asked(iris)))


def test_outputs_asked_for_come_in_that_order(iris, reply):
    answer = reply(iris, label=[0], probabilities=[[1, 0, 0]])
    text = written(answer, asked(iris, outputs=("probabilities", "label")))
    assert [o["name"] for o in json.loads(text)["outputs"]] == ["probabilities", "label"]
    text = written(answer, asked(iris, outputs=("label",)))
    assert [o["name"] for o in json.loads(text)["outputs"]] == ["label"]


def test_every_datatype_has_its_form(make_view, reply):
    specs = [TensorSpec(d.value, d, (None, 1)) for d in DType if d not in (DType.FP16, DType.BF16)]
    view = make_view([TensorSpec("x", DType.FP32, (None,))], specs)
    values = {spec.name: [[1]] for spec in specs}
    values["BYTES"], values["BOOL"], values["FP64"] = [["好".encode()]], [[True]], [[np.nan]]
    text = written(reply(view, **values), asked(view))
    outputs = {output["name"]: output for output in json.loads(text)["outputs"]}
    assert all(output["datatype"] == name for name, output in outputs.items())
    assert outputs["BYTES"]["data"] == ["好"]
    assert outputs["BOOL"]["data"] == [True]
    assert np.isnan(outputs["FP64"]["data"][0])
    assert outputs["INT8"] == {"name": "INT8", "datatype": "INT8", "shape": [1, 1], "data": [1]}


def test_scalars_and_empty_tensors_are_flat_lists(make_view, reply):
    view = make_view(
        [TensorSpec("x", DType.FP32, (None,))],
        [TensorSpec("s", DType.FP32, ()), TensorSpec("e", DType.BYTES, (None, 2))],
        batched=False,
    )
    outputs = json.loads(written(reply(view, s=2, e=np.empty((0, 2))), asked(view)))["outputs"]
    assert outputs[0] == {"name": "s", "datatype": "FP32", "shape": [], "data": [2.0]}
    assert outputs[1] == {"name": "e", "datatype": "BYTES", "shape": [0, 2], "data": []}


@pytest.mark.parametrize("dtype", [DType.FP16, DType.BF16])
def test_some_floats_have_no_json_form(make_view, reply, dtype):
    view = make_view(
        [TensorSpec("x", DType.FP32, (None,))],
        [TensorSpec("h", dtype, (None,)), TensorSpec("y", DType.FP32, (None,))],
    )
    answer = reply(view, h=[1], y=[1])
    with pytest.raises(MaasError, match="no JSON form; ask for it in binary") as caught:
        encode_infer(answer, asked(view))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert json.loads(written(answer, asked(view, outputs=("y",))))["outputs"][0]["data"] == [1]
    body, length = encode_infer(answer, asked(view, outputs=("h", "y"), binary=(True, False)))
    assert [output.get("data") for output in json.loads(body[:length])["outputs"]] == [None, [1.0]]
    assert np.frombuffer(body[length:], dtype.numpy).astype(float).tolist() == [1.0]


def test_tensors_in_binary_follow_the_json_in_their_order(iris, reply):
    answer = reply(iris, label=[7, 8], probabilities=[[1, 0, 0], [0, 0, np.nan]])
    body, length = encode_infer(answer, asked(iris, all_binary=True, id="a"))
    label, probabilities = np.array([7, 8]), np.array([[1, 0, 0], [0, 0, np.nan]], np.float32)
    assert json.loads(body[:length]) == {
        "model_name": "m",
        "model_version": "3",
        "id": "a",
        "outputs": [
            {
                "name": "label",
                "datatype": "INT64",
                "shape": [2],
                "parameters": {"binary_data_size": 16},
            },
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 3],
                "parameters": {"binary_data_size": 24},
            },
        ],
    }
    assert body[length:] == label.tobytes() + probabilities.tobytes()
    one, at = encode_infer(
        answer, asked(iris, outputs=("probabilities", "label"), binary=(False, True))
    )
    first, second = json.loads(one[:at])["outputs"]
    assert np.isnan(first["data"][5])
    assert second["parameters"] == {"binary_data_size": 16}
    assert one[at:] == label.tobytes()


def test_classes_in_binary(iris, reply):
    answer = reply(iris, label=[0], probabilities=[[0.25, 0.5, 0.25]])
    request = asked(iris, outputs=("probabilities",), classes=(1,), binary=(True,))
    body, length = encode_infer(answer, request)
    text = b"0.500000:1:versicolor"
    assert json.loads(body[:length])["outputs"] == [
        {
            "name": "probabilities",
            "datatype": "BYTES",
            "shape": [1, 1],
            "parameters": {"binary_data_size": len(text) + 4},
        }
    ]
    assert body[length:] == len(text).to_bytes(4, "little") + text


def test_classes_replace_scores(iris, reply):
    answer = reply(iris, label=[0], probabilities=[[0.25, 0.5, 0.25]])
    text = written(answer, asked(iris, outputs=("label", "probabilities"), classes=(0, 2)))
    assert json.loads(text)["outputs"] == [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]},
        {
            "name": "probabilities",
            "datatype": "BYTES",
            "shape": [1, 2],
            "data": ["0.500000:1:versicolor", "0.250000:0:setosa"],
        },
    ]


def test_metadata_of_a_model(iris):
    assert json.loads(encode_model_metadata(iris, [1, 3])) == {
        "name": "m",
        "versions": ["1", "3"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        ],
    }


def test_metadata_names_the_columns_of_a_table(iris):
    signature = iris.signatures[DEFAULT_SIGNATURE]
    (x,) = signature.inputs
    named = msgspec.structs.replace(x, labels=("a", "b", "c", "d"))
    signature = msgspec.structs.replace(signature, inputs=(named,))
    view = msgspec.structs.replace(iris, signatures={DEFAULT_SIGNATURE: signature})
    found = json.loads(encode_model_metadata(view, [1]))
    assert found["inputs"][0]["parameters"] == {"columns": ["a", "b", "c", "d"]}
    assert all("parameters" not in output for output in found["outputs"])


def test_server_metadata_health_and_errors():
    assert json.loads(encode_server_metadata("0.1.0")) == {
        "name": "maas",
        "version": "0.1.0",
        "extensions": [
            "classification",
            "model_repository",
            "model_repository(unload_dependents)",
            "schedule_policy",
            "model_configuration",
            "binary_tensor_data",
            "parameters",
            "statistics",
        ],
    }
    assert encode_live(True) == b'{"live":true}'
    assert encode_ready(False) == b'{"ready":false}'
    assert encode_ready(True, "m") == b'{"name":"m","ready":true}'
    assert encode_error(invalid("不好")) == '{"error":"不好"}'.encode()
