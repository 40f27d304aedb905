"""TensorFlow Serving's REST API: status and metadata."""

from __future__ import annotations

import pytest


def status(version: str) -> dict[str, object]:
    return {
        "version": version,
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


@pytest.mark.parametrize(
    ("path", "versions"),
    [
        ("iris", ["2", "1"]),
        ("iris/versions/1", ["1"]),
        ("iris/versions/2", ["2"]),
        ("iris/labels/prod", ["1"]),
        ("iris/labels/next", ["2"]),
    ],
)
def test_status(server, path, versions):
    answer = server.get(f"/v1/models/{path}")
    assert answer.json()["model_version_status"] == [status(version) for version in versions]


@pytest.mark.parametrize(
    ("path", "version"), [("iris", "1"), ("iris/versions/2", "2"), ("iris/labels/next", "2")]
)
def test_metadata(server, path, version):
    answer = server.get(f"/v1/models/{path}/metadata").json()
    assert answer["model_spec"] == {"name": "iris", "signature_name": "", "version": version}
    signatures = answer["metadata"]["signature_def"]["signature_def"]  # nested twice
    signature = signatures["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    sizes = [dim["size"] for dim in signature["inputs"]["x"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "4"]
    assert set(signature["outputs"]) == {"label", "probabilities"}


@pytest.mark.parametrize(
    ("name", "tensor", "dtype"),
    [("counts", "counts", "DT_INT64"), ("words", "text", "DT_STRING")],
)
def test_types(server, name, tensor, dtype):
    answer = server.get(f"/v1/models/{name}/metadata").json()
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"][tensor]["dtype"] == dtype
