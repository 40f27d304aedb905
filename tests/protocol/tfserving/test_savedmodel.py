"""A SavedModel with signatures for Predict, Classify and Regress, called as its clients call it."""

from __future__ import annotations

import base64

import pytest
from tests import tf_zoo
from tests.answers import check_sentence

from maas.protos import message
from maas.wire.envoy import why_not

M = "/v1/models/rooms"
SENT = {"context": {"age": 10}, "examples": [{"x": [1.0, 2.0]}, {"x": [0.5, 0.0], "age": 1}]}


def test_every_signature_by_its_method(start_any, tmp_path):
    server = start_any()
    server.publish(tf_zoo.with_methods(tmp_path / "model"), "rooms")

    assert server.post(f"{M}:predict", {"instances": [[1, 2]]}).json() == {"predictions": [[2, 4]]}
    sent = {**SENT, "signature_name": "classification"}
    assert server.post(f"{M}:classify", sent).json() == {
        "results": [[["low", 1.0], ["high", 2.0]], [["low", 0.5], ["high", 0.0]]]
    }
    sent["signature_name"] = "regression"
    assert server.post(f"{M}:regress", sent).json() == {"results": [13.0, 1.5]}
    assert "cannot classify" in server.post(f"{M}:classify", sent).json()["error"]
    # Predict takes the serialised examples themselves.
    example = message("tensorflow.Example")()
    example.features.feature["x"].float_list.value.extend([1, 2])
    coded = {"b64": base64.b64encode(example.SerializeToString()).decode()}
    answer = server.post(f"{M}:predict", {"signature_name": "regression", "instances": [coded]})
    assert answer.json() == {"predictions": [[3.0]]}
    # A feature of another kind is the model's to refuse, in one sentence.
    wrong = {"signature_name": "regression", "examples": [{"x": [1, 2]}]}
    answer = server.post(f"{M}:regress", wrong)
    assert check_sentence(answer.json()["error"]).startswith("the model refused these values")
    assert answer.status_code == 400

    signatures = server.get(f"{M}/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert {name: one["method_name"].rpartition("/")[2] for name, one in signatures.items()} == {
        "serving_default": "predict",
        "classification": "classify",
        "regression": "regress",
        "odd": "predict",
    }
    if not why_not():
        several_at_once(server)


def several_at_once(server) -> None:
    """MultiInference: both signatures on the same examples."""
    grpc = pytest.importorskip("grpc", reason="needs grpcio")
    request = message("tensorflow.serving.MultiInferenceRequest")()
    for method, signature in (("classify", "classification"), ("regress", "regression")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "rooms"
        task.model_spec.signature_name = signature
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.extend([1, 2])
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/MultiInference",
            type(request).SerializeToString,
            message("tensorflow.serving.MultiInferenceResponse").FromString,
        )
        first, second = call(request, timeout=60).results
    [row] = first.classification_result.classifications
    assert [(one.label, one.score) for one in row.classes] == [("low", 1), ("high", 2)]
    assert second.regression_result.regressions[0].value == 3
    assert second.model_spec.signature_name == "regression"
