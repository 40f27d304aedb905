"""Predict over gRPC, and which model a ModelSpec names."""

from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef, ServableId
from maas.core.messages import InferReply
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tfserving.modelspec import read_ref, write_spec
from maas.dialects.tfserving.predictproto import decode_predict, encode_predict, is_vast
from maas.dialects.tfserving.tensorproto import write_tensor
from maas.protos import message

PredictRequest = message("tensorflow.serving.PredictRequest")
PredictResponse = message("tensorflow.serving.PredictResponse")
ModelSpec = message("tensorflow.serving.ModelSpec")
ROWS = np.array([[5.1, 3.5, 1.4, 0.2]] * 2, np.float32)


def asking(*outputs, signature="", **inputs):
    request = PredictRequest(output_filter=outputs)
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        write_tensor(request.inputs[name], array)
    return request


def refused(request, view):
    with pytest.raises(MaasError) as caught:
        decode_predict(request, view)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


def test_a_request(iris):
    call = decode_predict(asking(x=ROWS), iris)
    np.testing.assert_array_equal(call.inputs["x"], ROWS)
    assert (call.rows, call.outputs) == (2, None)
    assert call.signature is iris.signatures["serving_default"]
    assert decode_predict(asking(x=ROWS, signature="serving_default"), iris).rows == 2


def test_output_filter(iris):
    call = decode_predict(asking("probabilities", "label", x=ROWS), iris)
    assert call.outputs == ("probabilities", "label")
    message = refused(asking("label", "other", x=ROWS), iris)
    assert (
        message
        == "output_filter names 'other', which is no output; expected some of label, "
        + ("probabilities")
    )
    assert "names 'label' more than once" in refused(asking("label", "label", x=ROWS), iris)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "input 'x' is missing; expected x FP32 [n, 4]"),
        ({"y": ROWS}, "there is no input 'y'; expected x FP32 [n, 4]"),
        ({"x": ROWS, "y": ROWS}, "there is no input 'y'"),
        ({"x": ROWS[0]}, "has shape [4]; expected x FP32 [n, 4]"),
        ({"x": ROWS[:, :3]}, "has shape [2, 3]; expected x FP32 [n, 4]"),
        ({"x": ROWS[:0]}, "has no rows"),
        ({"x": ROWS.astype(np.float64)}, "is DT_DOUBLE; expected DT_FLOAT"),
    ],
)
def test_what_is_wrong_is_said(iris, inputs, sentence):
    assert sentence in refused(asking(**inputs), iris)


def test_no_such_signature(iris):
    assert "has no signature 'no'" in refused(asking(x=ROWS, signature="no"), iris)


def test_one_value_is_broadcast(iris):
    request = asking(x=ROWS)
    del request.inputs["x"].float_val[1:]
    assert decode_predict(request, iris).inputs["x"].tolist() == [[ROWS[0, 0]] * 4] * 2


def test_an_answer_says_who_gave_it(iris):
    signature = iris.signatures["serving_default"]
    outputs = {"label": np.array([0, 2]), "probabilities": np.eye(2, 3, dtype=np.float32)}
    reply = InferReply(ServableId("m", 3), signature, outputs)
    response = PredictResponse.FromString(encode_predict(reply))
    assert response.model_spec.name == "m"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs["label"].int64_val) == [0, 2]
    assert list(response.outputs["probabilities"].float_val) == [1, 0, 0, 0, 1, 0]
    assert [dim.size for dim in response.outputs["probabilities"].tensor_shape.dim] == [2, 3]


def test_strings(make_view):
    view = make_view(
        [TensorSpec("text", DType.BYTES, (None,))], [TensorSpec("label", DType.BYTES, (None,))]
    )
    texts = np.array(["体育".encode(), b"\xff"], object)
    call = decode_predict(asking(text=texts), view)
    assert call.inputs["text"].tolist() == texts.tolist()
    reply = InferReply(view.servable, call.signature, {"label": texts})
    response = PredictResponse.FromString(encode_predict(reply))
    assert list(response.outputs["label"].string_val) == texts.tolist()


def spec_of(name="iris", version=None, **fields):
    spec = ModelSpec(name=name, **fields)
    if version is not None:
        spec.version.value = version
    return spec


@pytest.mark.parametrize(
    ("spec", "ref"),
    [
        (spec_of(), ModelRef("iris")),
        (spec_of(version=3), ModelRef("iris", version=3)),
        (spec_of(version=0), ModelRef("iris", version=0)),
        (spec_of(version_label="prod"), ModelRef("iris", alias="prod")),
        (spec_of("花"), ModelRef("花")),
    ],
)
def test_a_model_spec(spec, ref):
    assert read_ref(spec) == ref


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (ModelSpec(), "model_spec has no name"),
        (spec_of("../etc"), "is not a model name"),
        (spec_of(version=-1), "version is -1"),
        (spec_of(version_label=""), "is not a label"),
        (spec_of(version_label="a b"), "is not a label"),
    ],
)
def test_what_no_model_spec_may_say(spec, sentence):
    with pytest.raises(MaasError, match=sentence) as caught:
        read_ref(spec)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_an_effective_spec_names_a_version_and_no_label():
    spec = ModelSpec()
    write_spec(spec, ServableId("m", 7))
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 7, "")
    assert spec.WhichOneof("version_choice") == "version"


@pytest.mark.parametrize(("shape", "vast"), [((), False), ((9, 10), False), ((10, 10), True)])
def test_what_grows_is_known_by_its_shape(shape, vast):
    request = PredictRequest()
    for size in shape:
        request.inputs["x"].tensor_shape.dim.add().size = size
    assert is_vast(request, 100) is vast
    assert not is_vast(PredictRequest(), 100)
