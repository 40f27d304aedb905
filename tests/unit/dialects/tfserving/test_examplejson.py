"""Classify and regress requests in JSON, rule by rule."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tensorjson.document import MAX_OBJECTS
from maas.dialects.tfserving import examples as examples_module
from maas.dialects.tfserving.examplejson import decode_examples
from maas.protos import message

ROW = [5.1, 3.5, 1.4, 0.2]
COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


def error_of(text, view, task="classify"):
    with pytest.raises(MaasError) as caught:
        decode_examples(text, view, task)
    return caught.value


def refused(text, view, task="classify"):
    error = error_of(text, view, task)
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    return error.message


@pytest.fixture
def table(iris):
    """The same where the columns of the input are known."""
    signature = iris.signatures["serving_default"]
    spec = msgspec.structs.replace(signature.inputs[0], labels=COLUMNS)
    signature = msgspec.structs.replace(signature, inputs=(spec,))
    return msgspec.structs.replace(iris, signatures={"serving_default": signature})


@pytest.fixture
def mixed(make_view):
    """A feature of every kind, and one number for an answer."""
    return make_view(
        [
            TensorSpec("name", DType.BYTES, (None,)),
            TensorSpec("age", DType.INT32, (None, 1)),
            TensorSpec("weights", DType.FP32, (None, 2, 2)),
            TensorSpec("vip", DType.BOOL, (None,)),
            TensorSpec("tail", DType.FP64, (None, None)),
        ],
        [TensorSpec("price", DType.FP32, (None, 1))],
    )


@pytest.fixture
def parsing(make_view):
    """A signature that a SavedModel made for Classify: it takes serialised examples."""
    view = make_view(
        [TensorSpec("inputs", DType.BYTES, (None,))],
        [
            TensorSpec("classes", DType.BYTES, (None, None)),
            TensorSpec("scores", DType.FP32, (None, None)),
        ],
    )
    signature = msgspec.structs.replace(view.signatures["serving_default"], method="classify")
    return msgspec.structs.replace(view, signatures={"serving_default": signature})


def test_features_by_the_names_of_inputs(body, iris):
    request = decode_examples(body({"examples": [{"x": ROW}, {"x": ROW[::-1]}]}), iris, "classify")
    np.testing.assert_array_equal(request.inputs["x"], np.array([ROW, ROW[::-1]], np.float32))
    assert (request.rows, request.examples, request.outputs) == (2, 2, ("probabilities",))
    assert request.signature is iris.signatures["serving_default"]


def test_features_of_every_kind(body, mixed):
    sent = {
        "signature_name": "serving_default",
        "examples": [
            {"name": "甲", "age": 3, "weights": [1, 2, 3.5, 4], "vip": True, "tail": [1, 2]},
            {"name": {"b64": "/w=="}, "age": [True], "weights": ROW, "vip": 0, "tail": [3, 4]},
        ],
    }
    request = decode_examples(body(sent), mixed, "regress")
    assert request.inputs["name"].tolist() == ["甲".encode(), b"\xff"]
    assert request.inputs["age"].tolist() == [[3], [1]]
    assert request.inputs["weights"][0].tolist() == [[1, 2], [3.5, 4]]
    assert request.inputs["vip"].tolist() == [True, False]
    assert request.inputs["tail"].tolist() == [[1, 2], [3, 4]]
    assert request.outputs == ("price",)


def test_a_table_takes_its_columns(body, table):
    rows = [dict(zip(COLUMNS, ROW, strict=True)), {**dict.fromkeys(COLUMNS, 1), "more": "x"}]
    request = decode_examples(body({"examples": rows}), table, "classify")
    np.testing.assert_array_equal(request.inputs["x"], np.array([ROW, [1] * 4], np.float32))
    assert decode_examples(body({"examples": [{"x": ROW}]}), table, "classify").rows == 1


def test_the_context_belongs_to_every_example_and_yields_to_it(body, table, parsing):
    sent = {
        "context": {"sepal_length": 9, "sepal_width": 8, "petal_length": [7]},
        "examples": [{"petal_width": 1}, {"petal_width": 2, "sepal_length": 3}],
    }
    request = decode_examples(body(sent), table, "classify")
    assert request.inputs["x"].tolist() == [[9, 8, 7, 1], [3, 8, 7, 2]]
    request = decode_examples(body(sent), parsing, "classify")
    second = message("tensorflow.Example").FromString(request.inputs["inputs"][1])
    found = second.features.feature
    assert found["sepal_length"].int64_list.value == [3]
    assert found["sepal_width"].int64_list.value == [8]
    assert found["petal_width"].int64_list.value == [2]


def test_a_signature_for_examples_gets_them_serialised(body, parsing):
    sent = {
        "examples": [{"a": [1.5, 2.0], "b": "é", "c": [1, True], "d": {"b64": "/w=="}, "e": []}]
    }
    request = decode_examples(body(sent), parsing, "classify")
    assert request.outputs == ("classes", "scores")
    found = message("tensorflow.Example").FromString(request.inputs["inputs"][0]).features.feature
    assert found["a"].float_list.value == [1.5, 2]
    assert found["b"].bytes_list.value == ["é".encode()]
    assert found["c"].int64_list.value == [1, 1]
    assert found["d"].bytes_list.value == [b"\xff"]
    assert found["e"].WhichOneof("kind") is None


@pytest.mark.parametrize(
    ("feature", "sentence"),
    [
        ("[1, 2.5]", "holds values of several kinds"),
        ('["a", 1]', "holds values of several kinds"),
        ("1e39", "beyond what FP32 can hold"),
        ("9223372036854775808", "holds an integer beyond 64 bits"),
        ("null", "holds null"),
        ("[[1]]", "holds a list"),
        ('{"b64": 1}', "holds an object"),
        ('{"b64": "?"}', "not base64"),
        ('{"b64": "", "x": 1}', "holds an object"),
    ],
)
def test_what_no_feature_can_hold(body, parsing, feature, sentence):
    assert sentence in refused(body(b'{"examples": [{"a": %s}]}' % feature.encode()), parsing)


def test_nan_is_a_float(body, parsing):
    request = decode_examples(body(b'{"examples": [{"a": [NaN, Infinity]}]}'), parsing, "classify")
    found = message("tensorflow.Example").FromString(request.inputs["inputs"][0])
    assert np.isinf(found.features.feature["a"].float_list.value[1])


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "expected examples, a list"),
        ({"examples": []}, "expected examples, a list"),
        ({"examples": {"x": ROW}}, "expected examples, a list"),
        ({"instances": [ROW]}, "expected examples, a list"),
        ({"examples": [ROW]}, "examples[0] is no example; expected an object"),
        ({"examples": [{"x": ROW}, None]}, "examples[1] is no example"),
        ({"examples": [{"b64": "AA=="}]}, "examples[0] is no example"),
        ({"examples": [{"x": ROW}], "context": [1]}, "context is no example"),
        ({"examples": [{"x": ROW}], "context": None}, "context is no example"),
        (
            {"examples": [{}]},
            "examples[0] has no feature 'x'; expected the features x FP32 (4 each)",
        ),
        ({"examples": [{"x": ROW}, {"y": 1}]}, "examples[1] has no feature 'x'"),
        ({"examples": [{"x": ROW[:3]}]}, "feature 'x' of examples[0] has 3 values; expected 4"),
        ({"examples": [{"x": [*ROW, 1]}]}, "has 5 values; expected 4"),
        ({"examples": [{"x": [*ROW[:3], "1"]}]}, "feature 'x' holds strings; expected numbers"),
        ({"examples": [{"x": [*ROW[:3], True]}]}, "holds true at [0, 3]"),
        ({"examples": [{"x": [ROW]}]}, "holds a list; expected a number"),
        ({"examples": [{"x": None}]}, "feature 'x' of examples[0] holds null"),
        ({"examples": [{"x": ROW}], "signature_name": "no"}, "m:3 has no signature 'no'"),
        ({"examples": [{"x": ROW}], "signature_name": 1}, "signature_name must be a string"),
    ],
)
def test_what_is_wrong_is_said(body, iris, sent, sentence):
    assert sentence in refused(body(sent), iris)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": 5}, "feature 'name' holds numbers; expected strings for name BYTES"),
        ({"age": 1.0}, "feature 'age' holds 1.0 at [0, 0]; expected whole numbers"),
        ({"age": 3_000_000_000}, "outside the range of INT32"),
        ({"vip": 2}, "feature 'vip' holds 2 at [0]; expected true or false"),
        ({"weights": [1, 2, 3]}, "has 3 values; expected 4"),
    ],
)
def test_values_must_fit(body, mixed, change, sentence):
    good = {"name": "a", "age": 3, "weights": [1, 2, 3, 4], "vip": True, "tail": [1]}
    assert sentence in refused(body({"examples": [{**good, **change}]}), mixed, "regress")


def test_an_open_size_is_the_same_in_every_example(body, mixed):
    one = {"name": "a", "age": 3, "weights": [1, 2, 3, 4], "vip": True}
    sent = {"examples": [{**one, "tail": [1, 2]}, {**one, "tail": [1]}]}
    assert "feature 'tail' of examples[1] has 1 values; expected 2" in refused(
        body(sent), mixed, "regress"
    )


def test_columns_that_are_missing_or_lists(body, table):
    row = dict(zip(COLUMNS, ROW, strict=True))
    del row["petal_width"]
    message = refused(body({"examples": [row]}), table)
    assert "examples[0] has no feature 'petal_width'" in message
    assert "expected a value for each of sepal_length, sepal_width" in message
    assert "has 2 values; expected 1" in refused(
        body({"examples": [{**row, "petal_width": [1, 2]}]}), table
    )


def test_a_signature_without_rows(body, make_view):
    labels = [TensorSpec("label", DType.BYTES, (1,))]
    view = make_view([TensorSpec("x", DType.FP32, (4,))], labels, batched=False)
    assert "no axis of rows" in refused(body({"examples": [{"x": ROW}]}), view)
    view = make_view([TensorSpec("x", DType.FP32, (None, None, None))], labels, batched=False)
    assert "one flat list; use predict" in refused(body({"examples": [{"x": ROW}]}), view)


def test_a_context_cannot_be_multiplied_without_bound(monkeypatch, make_view, parsing):
    width = 100_000
    view = make_view(
        [TensorSpec("x", DType.FP32, (None, width))], [TensorSpec("label", DType.BYTES, (None,))]
    )
    text = json.dumps({"context": {"x": [1] * width}, "examples": [{}] * 30}).encode()
    assert 30 * width > MAX_OBJECTS
    error = error_of(text, view)
    assert error.kind is ErrorKind.TOO_LARGE
    assert "send fewer of them" in error.message
    monkeypatch.setattr(examples_module, "MOST_BYTES", 1 << 20)
    error = error_of(text, parsing)
    assert error.kind is ErrorKind.TOO_LARGE
    assert "more than 1 MiB" in error.message


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_a_model_that_does_neither(body, make_view, task):
    view = make_view(
        [TensorSpec("x", DType.FP32, (None, 4))], [TensorSpec("y", DType.FP32, (None, 2, 2))]
    )
    message = refused(body({"examples": [{"x": ROW}]}), view, task)
    assert f"signature 'serving_default' of m:3 cannot {task}: its outputs are y FP32" in message
    assert "use predict" in message
