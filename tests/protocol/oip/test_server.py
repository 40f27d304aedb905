"""The Open Inference Protocol v2 over REST: health, metadata and versions.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import pytest
from tests.answers import bare_error


def test_server_metadata(server):
    answer = server.get("/v2").json()
    assert answer["name"] == "maas"
    assert isinstance(answer["version"], str)
    assert "classification" in answer["extensions"]
    assert "binary_tensor_data" in answer["extensions"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/iris/ready", {"name": "iris", "ready": True}),
        ("/v2/models/iris/versions/2/ready", {"name": "iris", "ready": True}),
    ],
)
def test_health(server, path, body):
    answer = server.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    # The specification asks for the status alone; a model's name in the body is Triton's.
    assert answer.json() == body


@pytest.mark.parametrize(
    "path", ["/v2/models/nobody/ready", "/v2/models/nobody", "/v2/models/iris/versions/9",
             "/v2/models/iris/versions/9/ready", "/v2/models/iris@nobody"],
)  # fmt: skip
def test_what_is_not_there(server, path):
    bare_error(server.get(path), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/iris/versions/latest",
        "/v2/models/iris/versions/-1",
        "/v2/models/iris:1/versions/2",
    ],
)
def test_versions_that_are_none(server, path):
    bare_error(server.get(path), 400)


def test_model_metadata(server):
    answer = server.get("/v2/models/iris").json()
    assert answer == {
        "name": "iris",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        ],
    }


@pytest.mark.parametrize("path", ["/v2/models/iris/versions/2", "/v2/models/iris@next"])
def test_metadata_of_one_version(server, path):
    answer = server.get(path)
    assert answer.json()["name"] == "iris"
    assert answer.headers["maas-model"] == "iris:2"


@pytest.mark.parametrize(
    ("name", "datatype", "shape"),
    [
        ("counts", "INT64", [-1, 3]),
        ("words", "BYTES", [-1]),
        ("my_model", "FP32", [1, 299, 299, 3]),
        ("%E8%8A%B1", "FP32", [-1, 2]),
    ],
)
def test_datatypes_and_shapes(server, name, datatype, shape):
    spec = server.get(f"/v2/models/{name}").json()["inputs"][0]
    assert (spec["datatype"], spec["shape"]) == (datatype, shape)


def test_the_platform_of_a_model_that_scikit_learn_serves(server):
    assert server.get("/v2/models/centroid").json()["platform"] == "sklearn"
