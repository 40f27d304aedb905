"""Classify, Regress and MultiInference over gRPC."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.messages import InferReply, ModelView
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tfserving.taskproto import (
    decode_task,
    decode_tasks,
    encode_task,
    encode_tasks,
    read_tasks_ref,
)
from maas.protos import message, parse

Request = message("tensorflow.serving.ClassificationRequest")
Multi = message("tensorflow.serving.MultiInferenceRequest")
Example = message("tensorflow.Example")
ROW = [5.0, 3.5, 1.5, 0.25]
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def example(**features):
    made = Example()
    for name, values in features.items():
        feature = made.features.feature[name]
        kinds = {float: "float_list", int: "int64_list", bytes: "bytes_list"}
        if values:
            getattr(feature, kinds[type(values[0])]).value.extend(values)
    return made


def asking(*examples, context=None):
    request = Request()
    fill(request.input, examples, context)
    return request


def fill(given, examples, context=None):
    if context is None:
        given.example_list.examples.extend(examples)
    else:
        given.example_list_with_context.examples.extend(examples)
        given.example_list_with_context.context.CopyFrom(context)


def refused(request, view, task="classify"):
    with pytest.raises(MaasError) as caught:
        decode_task(request, view, task)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


@pytest.fixture
def both(iris):
    """A model with a signature for each task, for examples as bytes, on top of the main one."""
    taken = (TensorSpec("inputs", DType.BYTES, (None,)),)
    labelled = Signature(
        "label_it", taken, (TensorSpec("scores", DType.FP32, (None, None)),), True, "classify"
    )
    valued = Signature(
        "value_it", taken, (TensorSpec("outputs", DType.FP32, (None, 1)),), True, "regress"
    )
    signatures = {**iris.signatures, "label_it": labelled, "value_it": valued}
    return msgspec.structs.replace(iris, signatures=signatures)


def test_features_by_the_names_of_inputs(iris):
    call = decode_task(asking(example(x=ROW), example(x=[1, 2, 3, 4])), iris, "classify")
    assert call.inputs["x"].tolist() == [ROW, [1, 2, 3, 4]]
    assert call.inputs["x"].dtype == np.float32
    assert (call.rows, call.examples, call.outputs) == (2, 2, ("probabilities",))


def test_the_context_yields_to_an_example(iris):
    request = asking(example(), example(x=ROW), context=example(x=[1, 2, 3, 4]))
    assert decode_task(request, iris, "classify").inputs["x"].tolist() == [[1, 2, 3, 4], ROW]


def test_the_strings_of_a_context_are_not_multiplied(iris):
    texts = Signature(
        "texts",
        (TensorSpec("text", DType.BYTES, (None,)),),
        iris.signatures["serving_default"].outputs,
        True,
    )
    request = asking(*[example()] * 100, context=example(text=[b"x" * (1 << 20)]))
    request.model_spec.signature_name = "texts"
    view = msgspec.structs.replace(iris, signatures={**iris.signatures, "texts": texts})
    with pytest.raises(MaasError) as caught:
        decode_task(request, view, "classify")
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_examples_stay_bytes_where_the_model_reads_them(both):
    request = asking(example(a=[1]), example(b=[2.5]), context=example(a=[9], c=[b"\xff"]))
    request.model_spec.signature_name = "label_it"
    found = decode_task(request, both, "classify").inputs["inputs"]
    first, second = (Example.FromString(one).features.feature for one in found)
    assert first["a"].int64_list.value == [1]
    assert second["a"].int64_list.value == [9]
    assert second["b"].float_list.value == [2.5]
    assert second["c"].bytes_list.value == [b"\xff"]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request(), "input is empty; expected example_list or example_list_with_context"),
        (asking(), "there are no examples; send at least one"),
        (asking(context=example()), "there are no examples; send at least one"),
        (asking(example()), "examples[0] has no feature 'x'"),
        (asking(example(x=[])), "feature 'x' of examples[0] has 0 values; expected 4"),
        (asking(example(x=ROW[:2])), "has 2 values; expected 4"),
        (asking(example(x=[b"a"] * 4)), "feature 'x' holds strings"),
    ],
)
def test_what_is_wrong_is_said(iris, request_, sentence):
    assert sentence in refused(request_, iris)


def test_a_signature_that_does_not_do_it(iris, both):
    assert "cannot regress" in refused(asking(example(x=ROW)), iris, "regress")
    request = asking(example(a=[1]))
    request.model_spec.signature_name = "value_it"
    assert "cannot classify" in refused(request, both)
    request.model_spec.signature_name = "no"
    assert "has no signature 'no'" in refused(request, both)


ONE = example(x=ROW)


def multi(*tasks, examples=(ONE,)):
    request = Multi()
    for name, signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = name
        task.model_spec.signature_name = signature
    fill(request.input, examples)
    return request


def test_several_tasks_on_the_same_examples(both):
    request = multi(("m", "", CLASSIFY), ("m", "label_it", CLASSIFY), ("m", "value_it", REGRESS))
    assert read_tasks_ref(request).name == "m"
    calls = decode_tasks(request, both)
    assert [call.task for call in calls] == ["classify", "classify", "regress"]
    assert [call.signature.name for call in calls] == ["serving_default", "label_it", "value_it"]
    outputs = [
        {"probabilities": np.array([[0.5, 0.25, 0.25]], np.float32)},
        {"scores": np.array([[2.5]], np.float32)},
        {"outputs": np.array([[7.5]], np.float32)},
    ]
    replies = [
        InferReply(ServableId("m", 3), call.signature, one)
        for call, one in zip(calls, outputs, strict=True)
    ]
    kind = message("tensorflow.serving.MultiInferenceResponse")
    first, second, third = kind.FromString(encode_tasks(replies, calls)).results
    assert first.model_spec.signature_name == "serving_default"
    assert first.model_spec.version.value == 3
    [row] = first.classification_result.classifications
    assert [(one.label, one.score) for one in row.classes] == [
        ("setosa", 0.5), ("versicolor", 0.25), ("virginica", 0.25),
    ]  # fmt: skip
    assert second.classification_result.classifications[0].classes[0].score == 2.5
    assert [one.value for one in third.regression_result.regressions] == [7.5]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (multi(), "has no tasks"),
        (multi(*[("m", "", CLASSIFY)] * 65), "65 tasks; expected at most 64"),
        (multi(("m", "", CLASSIFY), ("n", "", CLASSIFY)), "tasks[1] asks n and tasks[0] asks m"),
        (multi(("", "", CLASSIFY)), "model_spec has no name"),
    ],
)
def test_tasks_that_cannot_be_asked_together(request_, sentence):
    with pytest.raises(MaasError) as caught:
        read_tasks_ref(request_)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("request_", "kind", "sentence"),
    [
        (
            multi(("m", "", "tensorflow/serving/predict")),
            ErrorKind.UNIMPLEMENTED,
            "expected tensorflow/serving/classify or tensorflow/serving/regress",
        ),
        (multi(("m", "", "")), ErrorKind.UNIMPLEMENTED, "method_name ''"),
        (
            multi(("m", "", CLASSIFY), ("m", "serving_default", CLASSIFY)),
            ErrorKind.INVALID_ARGUMENT,
            "asks signature 'serving_default' again",
        ),
        (multi(("m", "", REGRESS)), ErrorKind.INVALID_ARGUMENT, "cannot regress"),
        (multi(("m", "", CLASSIFY), examples=()), ErrorKind.INVALID_ARGUMENT, "no examples"),
    ],
)
def test_tasks_that_cannot_be_done(iris, request_, kind, sentence):
    with pytest.raises(MaasError) as caught:
        decode_tasks(request_, iris)
    assert caught.value.kind is kind
    assert sentence in caught.value.message


def test_answers(iris, make_view):
    call = decode_task(asking(example(x=ROW)), iris, "classify")
    reply = InferReply(
        ServableId("m", 3), call.signature, {"probabilities": np.array([[1e300, 0.1, np.nan]])}
    )
    kind = message("tensorflow.serving.ClassificationResponse")
    response = kind.FromString(encode_task(reply, call))
    assert response.model_spec.signature_name == "serving_default"
    scores = [one.score for one in response.result.classifications[0].classes]
    assert scores[0] == np.inf  # as far as a `float` goes
    assert np.isnan(scores[2])
    view = make_view(
        [TensorSpec("x", DType.FP32, (None, 4))], [TensorSpec("y", DType.FP64, (None,))]
    )
    call = decode_task(asking(example(x=ROW)), view, "regress")
    kind = message("tensorflow.serving.RegressionResponse")
    reply = InferReply(ServableId("m", 3), call.signature, {"y": np.array([2.5])})
    assert kind.FromString(encode_task(reply, call)).result.regressions[0].value == 2.5


INPUTS = (
    TensorSpec("x", DType.FP32, (None, 2)),
    TensorSpec("k", DType.INT8, (None,)),
    TensorSpec("t", DType.BYTES, (None, None)),
)
LABEL = (TensorSpec("label", DType.BYTES, (None,)),)
VIEWS = [
    ModelView(ServableId("m", 1), {"serving_default": signature}, "p", True)
    for signature in (
        Signature("serving_default", INPUTS, LABEL, True),
        Signature("s", (TensorSpec("x", DType.FP32, (None, 2), ("k", "t")),), LABEL, True),
        Signature("s", (TensorSpec("i", DType.BYTES, (None,)),), LABEL, True, "classify"),
    )
]
VALUES = (
    st.lists(st.floats(width=32), max_size=3)
    | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)
    | st.lists(st.binary(max_size=3), max_size=3)
)
EXAMPLES = st.builds(
    lambda features: example(**features), st.dictionaries(st.sampled_from("xkt"), VALUES)
)


def attempt(work, *arguments):
    try:
        return work(*arguments)
    except MaasError as error:
        return error


def try_all(request):
    for view in VIEWS:
        call = attempt(decode_task, request, view, "classify")
        if isinstance(call, MaasError):
            assert call.kind in (ErrorKind.INVALID_ARGUMENT, ErrorKind.TOO_LARGE)
            assert "\n" not in call.message
        else:
            assert check_inputs(call.signature, call.inputs) == call.rows == call.examples


@given(
    examples=st.lists(EXAMPLES, max_size=3),
    context=st.none() | EXAMPLES,
    edits=st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=3)), max_size=3),
    noise=st.binary(max_size=80),
)
def test_any_examples_are_arrays_or_an_error_of_ours(examples, context, edits, noise):
    request = asking(*examples, context=context)
    try_all(request)
    text = request.SerializeToString()
    for place, new in edits:
        place %= len(text) + 1
        text = text[:place] + new + text[place + len(new) :]
    for data in (text, noise):
        request = attempt(parse, Request, data)
        if not isinstance(request, MaasError):
            request.model_spec.signature_name = ""
            try_all(request)
