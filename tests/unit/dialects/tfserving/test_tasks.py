"""Which outputs classify and regress answer with, and what they make of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import InferReply
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tfserving.encode import encode_classes, encode_values
from maas.dialects.tfserving.tasks import wanted_outputs

X = TensorSpec("x", DType.FP32, (None, 4))
ABC = ("a", "b", "c")
LABEL = TensorSpec("label", DType.INT64, (None,), ABC)
SCORED = TensorSpec("probabilities", DType.FP32, (None, 3), ABC)
BARE = TensorSpec("y", DType.FP32, (None, 3))
VALUE = TensorSpec("y", DType.FP32, (None, 1))
TEXTS = TensorSpec("classes", DType.BYTES, (None, None))
SCORES = TensorSpec("scores", DType.FP32, (None, None))


@pytest.mark.parametrize(
    ("outputs", "classify", "regress"),
    [
        ([LABEL, SCORED], ("probabilities",), None),
        ([LABEL], ("label",), None),
        ([LABEL, BARE], ("label",), None),
        ([TEXTS, SCORES], ("classes", "scores"), None),
        ([SCORES, TEXTS, VALUE], ("classes", "scores"), None),
        ([SCORES, LABEL], ("scores",), None),
        ([TensorSpec("scores", DType.FP32, ())], ("scores",), ("scores",)),  # rank not known
        ([TensorSpec("classes", DType.INT64, (None,))], ("classes",), ("classes",)),
        ([BARE], ("y",), None),
        ([VALUE], None, ("y",)),
        ([TensorSpec("y", DType.FP64, (None,))], None, ("y",)),
        ([TensorSpec("y", DType.INT64, (None,))], ("y",), ("y",)),
        ([TensorSpec("outputs", DType.FP32, (None, 1)), LABEL], ("label",), ("outputs",)),
        ([TensorSpec("y", DType.BYTES, (None,))], ("y",), None),
        ([TensorSpec("y", DType.BOOL, (None,))], ("y",), None),
        ([VALUE, TensorSpec("z", DType.FP32, (None,))], None, None),
        ([TensorSpec("y", DType.FP32, (None, 3, 3))], None, None),
    ],
)
def test_the_outputs_that_are_wanted(make_view, outputs, classify, regress):
    view = make_view([X], outputs)
    signature = view.signatures["serving_default"]
    for task, expected in (("classify", classify), ("regress", regress)):
        if expected is not None:
            assert wanted_outputs(view, signature, task) == expected
            continue
        with pytest.raises(MaasError) as caught:
            wanted_outputs(view, signature, task)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
        assert f"cannot {task}" in caught.value.message


def test_the_way_out_is_named(make_view):
    view = make_view([X], [VALUE])
    with pytest.raises(MaasError, match="use regress"):
        wanted_outputs(view, view.signatures["serving_default"], "classify")


def replied(make_view, specs, **outputs):
    view = make_view([X], specs)
    arrays = {
        spec.name: np.array(outputs[spec.name], spec.dtype.numpy)
        for spec in specs
        if spec.name in outputs
    }
    return InferReply(view.servable, view.signatures["serving_default"], arrays)


def test_scores_under_their_labels(make_view):
    reply = replied(make_view, [LABEL, SCORED], probabilities=[[0.1, 0.9, 0], [1, 0, 0]])
    assert encode_classes(reply, 2) == (
        b'{"results":[[["a",0.1],["b",0.9],["c",0.0]],[["a",1.0],["b",0.0],["c",0.0]]]}'
    )


def test_classes_and_scores_are_zipped(make_view):
    reply = replied(make_view, [TEXTS, SCORES], classes=[["b", "é"]], scores=[[np.nan, -np.inf]])
    reply.outputs["classes"][0] = [b"b", "é".encode()]
    assert encode_classes(reply, 1) == '{"results":[[["b",NaN],["é",-Infinity]]]}'.encode()


@pytest.mark.parametrize(
    ("spec", "value", "text"),
    [
        (LABEL, [2], '["c",0.0]'),
        (LABEL, [7], '["7",0.0]'),
        (TensorSpec("y", DType.BYTES, (None,)), [b"\xff"], '["\ufffd",0.0]'),
        (TensorSpec("y", DType.BOOL, (None,)), [True], '["true",0.0]'),
        (TensorSpec("y", DType.INT8, (None, 2)), [[1, 2]], '["1",0.0],["2",0.0]'),
        (BARE, [[1, 2, 3]], '["",1.0],["",2.0],["",3.0]'),
        (TensorSpec("y", DType.FP64, (None, 2)), [[0.1, 1e300]], '["",0.1],["",1e+300]'),
        (TensorSpec("y", DType.FP16, (None, 2)), [[0.5, 2]], '["",0.5],["",2.0]'),
        (TensorSpec("y", DType.BF16, (None, 2)), [[0.5, 2]], '["",0.5],["",2.0]'),
    ],
)
def test_labels_alone_and_scores_alone(make_view, spec, value, text):
    reply = replied(make_view, [spec], **{spec.name: value})
    assert encode_classes(reply, 1).decode() == f'{{"results":[[{text}]]}}'


@pytest.mark.parametrize(
    ("spec", "value", "text"),
    [
        (VALUE, [[1], [0.1]], "[1.0,0.1]"),
        (TensorSpec("y", DType.FP32, (None,)), [np.nan, np.inf], "[NaN,Infinity]"),
        (TensorSpec("y", DType.FP64, (None,)), [0.1, 1e300], "[0.1,1e+300]"),
        (TensorSpec("y", DType.INT64, (None,)), [3, -4], "[3.0,-4.0]"),
        (TensorSpec("y", DType.FP16, (None,)), [3, 0.5], "[3.0,0.5]"),
    ],
)
def test_values(make_view, spec, value, text):
    reply = replied(make_view, [spec], y=value)
    assert encode_values(reply, 2).decode() == f'{{"results":{text}}}'


@pytest.mark.parametrize(
    ("specs", "outputs"),
    [
        ([SCORED], {"probabilities": [0.1, 0.2, 0.7]}),
        ([SCORED], {"probabilities": [[0.1, 0.2, 0.7]]}),
        ([TEXTS, SCORES], {"classes": [["a"], ["b"]], "scores": [[1, 2], [3, 4]]}),
        ([LABEL], {"label": [1]}),
        ([LABEL], {"label": 1}),
    ],
)
def test_outputs_unlike_their_signature(make_view, specs, outputs):
    with pytest.raises(MaasError) as caught:
        encode_classes(replied(make_view, specs, **outputs), 2)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "use predict" in caught.value.message


@pytest.mark.parametrize("value", [1.0, [1.0], [[1, 2], [3, 4]], [1, 2, 3]])
def test_values_that_are_not_one_a_row(make_view, value):
    with pytest.raises(MaasError, match="2 examples"):
        encode_values(replied(make_view, [VALUE], y=value), 2)


def test_labels_other_than_the_scores_are_left_out(make_view):
    odd = TensorSpec("probabilities", DType.FP32, (None, None), ("a", "b"))
    reply = replied(make_view, [odd], probabilities=[[1, 2, 3]])
    assert json.loads(encode_classes(reply, 1))["results"] == [[["", 1], ["", 2], ["", 3]]]
