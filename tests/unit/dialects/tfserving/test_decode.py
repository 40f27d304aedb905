"""TensorFlow Serving's predict requests, rule by rule."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tfserving.decode import decode_predict

ROW = [5.1, 3.5, 1.4, 0.2]


def refused(text, view):
    with pytest.raises(MaasError) as caught:
        decode_predict(text, view)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


@pytest.fixture
def two(make_view):
    return make_view(
        [TensorSpec("tag", DType.BYTES, (None,)), TensorSpec("signal", DType.FP32, (None, 2))]
    )


@pytest.mark.parametrize(
    ("sent", "rows"),
    [
        ({"instances": [ROW, ROW]}, True),
        ({"instances": [{"x": ROW}, {"x": ROW}]}, True),
        ({"inputs": [ROW, ROW]}, False),
        ({"inputs": {"x": [ROW, ROW]}}, False),
        ({"inputs": {"x": [ROW, ROW], "extra": [1]}}, False),
        ({"instances": [ROW, ROW], "signature_name": "serving_default", "other": 1}, True),
        ({"instances": [ROW, ROW], "signature_name": ""}, True),
    ],
)
def test_row_and_column_form(body, iris, sent, rows):
    request = decode_predict(body(sent), iris)
    np.testing.assert_array_equal(request.inputs["x"], np.array([ROW, ROW], np.float32))
    assert request.rows == 2
    assert request.row_format is rows
    assert request.signature is iris.signatures["serving_default"]


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "neither instances nor inputs"),
        ({"instances": [ROW], "inputs": [ROW]}, "both instances and inputs"),
        ({"instances": []}, "instances must be a list with at least one element"),
        ({"instances": {}}, "instances must be a list with at least one element"),
        ({"instances": None}, "instances must be a list with at least one element"),
        ({"instances": 5}, "instances must be a list with at least one element"),
        ({"inputs": None}, "inputs holds null"),
        ({"inputs": {}}, "inputs has no 'x'; expected x FP32 [n, 4]"),
        ({"inputs": {"y": [ROW]}}, "inputs has no 'x'"),
        ({"inputs": []}, "has shape [0]; expected x FP32 [n, 4]"),
        ({"inputs": ROW}, "has shape [4]; expected x FP32 [n, 4]"),
        ({"instances": ROW}, "has shape [4]; expected x FP32 [n, 4]"),
        ({"instances": [{}]}, "instances[0] has no 'x'"),
        ({"instances": [{"x": ROW}, {"y": ROW}]}, "instances[1] has no 'x'"),
        ({"instances": [{"x": ROW, "y": 1}]}, "instances[0] has 'y', which is no input"),
        ({"instances": [{"x": ROW}, ROW]}, "instances[1] is no object"),
        ({"instances": [ROW, {"x": ROW}]}, "instances is ragged"),
        ({"instances": [ROW, ROW[:3]]}, "a list of 3 at [1] and a list of 4 at [0]"),
        ({"instances": [{"x": ROW}, {"x": ROW[:3]}]}, "a list of 3 at [1] and a list of 4 at [0]"),
        ({"instances": [{"x": ROW}, {"x": 1}]}, "a single value at [1]"),
        ({"instances": [[*ROW[:3], "1"]]}, 'holds "1" at [0, 3]'),
        ({"instances": [[*ROW[:3], {"b64": ""}]]}, "holds an object at [0, 3]; expected numbers"),
        ({"instances": [{"b64": "AAAA"}]}, "instances holds an object at [0]; expected numbers"),
        ({"instances": [{"x": {"b64": "AAAA"}}]}, "holds an object at [0]; expected numbers"),
        ({"instances": [ROW], "signature_name": "other"}, "m:3 has no signature 'other'"),
        ({"instances": [ROW], "signature_name": 3}, "signature_name must be a string"),
        ({"instances": [ROW], "signature_name": None}, "signature_name must be a string"),
    ],
)
def test_what_is_wrong_is_said(body, iris, sent, sentence):
    assert sentence in refused(body(sent), iris)


def test_another_signature_is_called_by_its_name(body, iris):
    main = iris.signatures["serving_default"]
    other = msgspec.structs.replace(
        main, name="pairs", inputs=(TensorSpec("p", DType.INT64, (None, 2)),)
    )
    view = msgspec.structs.replace(iris, signatures={"serving_default": main, "pairs": other})
    request = decode_predict(body({"signature_name": "pairs", "instances": [[1, 2]]}), view)
    assert request.signature is other
    assert "expected one of pairs, serving_default" in refused(
        body({"signature_name": "no", "instances": [[1, 2]]}), view
    )


def test_several_inputs(body, two):
    rows = {
        "instances": [{"tag": "a", "signal": [1, 2]}, {"tag": {"b64": "/w=="}, "signal": [3, 4]}]
    }
    columns = {"inputs": {"tag": ["a", {"b64": "/w=="}], "signal": [[1, 2], [3, 4]]}}
    for sent in (rows, columns):
        request = decode_predict(body(sent), two)
        assert request.inputs["tag"].tolist() == [b"a", b"\xff"]
        assert request.inputs["signal"].tolist() == [[1, 2], [3, 4]]
        assert request.rows == 2
    assert "the model has 2 inputs" in refused(body({"instances": [[1, 2]]}), two)
    assert "the model has 2 inputs" in refused(body({"inputs": [[1, 2]]}), two)
    assert "the model has 2 inputs" in refused(body({"instances": [{"b64": ""}]}), two)
    assert "inputs has no 'signal'" in refused(body({"inputs": {"tag": ["a"]}}), two)
    assert "instances[0] has no 'signal'" in refused(body({"instances": [{"tag": "a"}]}), two)
    message = refused(body({"inputs": {"tag": ["a"], "signal": [[1, 2], [3, 4]]}}), two)
    assert "has 2 rows where 'tag' has 1" in message


def test_base64_alone_is_a_value_and_never_a_named_input(body, make_view):
    view = make_view([TensorSpec("image", DType.BYTES, (None,))])
    expected = [b"\x00", b"a"]
    for sent in (
        {"instances": [{"b64": "AA=="}, {"b64": "YQ=="}]},
        {"instances": [{"b64": "AA=="}, "a"]},
        {"instances": [{"image": {"b64": "AA=="}}, {"image": "a"}]},
        {"inputs": [{"b64": "AA=="}, "a"]},
        {"inputs": {"image": [{"b64": "AA=="}, {"b64": "YQ=="}]}},
    ):
        assert decode_predict(body(sent), view).inputs["image"].tolist() == expected
    assert "has shape []" in refused(body({"inputs": {"b64": "AA=="}}), view)
    assert "inputs has no 'image'" in refused(body({"inputs": {"b64": "AA==", "x": 1}}), view)
    assert "instances[0] has no 'image'" in refused(
        body({"instances": [{"b64": "AA==", "x": 1}]}), view
    )
    assert "instances[1] is no object" in refused(
        body({"instances": [{"image": "a"}, {"b64": "AA=="}]}), view
    )
    assert "not base64 at [0]" in refused(body({"instances": [{"b64": "?"}]}), view)


def test_a_scalar_in_column_form_for_a_model_of_rank_0(body, make_view):
    view = make_view([TensorSpec("k", DType.INT64, ())], batched=False)
    request = decode_predict(body({"inputs": 5}), view)
    assert request.inputs["k"].item() == 5
    assert request.rows == 1


@pytest.mark.parametrize("written", [b"1.0", b"1.5", b"NaN", b"true", b'"1"', b"3000000000"])
def test_integer_inputs_are_strict(body, make_view, written):
    view = make_view([TensorSpec("k", DType.INT32, (None,))])
    assert decode_predict(body(b'{"instances": [1, -0, 2]}'), view).rows == 3
    assert "at [1]" in refused(body(b'{"instances": [1, %s]}' % written), view)


def test_nan_and_infinity_pass(body, make_view):
    view = make_view([TensorSpec("k", DType.FP32, (None,))])
    request = decode_predict(body(b'{"instances": [NaN, Infinity, -Infinity, 1]}'), view)
    np.testing.assert_array_equal(
        request.inputs["k"], np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    )


def test_few_large_blobs_under_names(body, make_view):
    view = make_view([TensorSpec("image", DType.BYTES, (None,))])
    blobs = [{"image": {"b64": "A" * 40_000}}, {"image": "a" * 40_000}]
    for instances in (blobs, blobs[::-1]):
        request = decode_predict(body({"instances": instances}), view)
        assert sorted(map(len, request.inputs["image"].tolist())) == [30_000, 40_000]
    mixed = [{"image": "a" * 40_000}, {"image": ["a" * 40_000]}]
    assert "is ragged" in refused(body({"instances": mixed}), view)
    assert "has shape [] in instances[1] and [1] in instances[0]" in refused(
        body({"instances": mixed[::-1]}), view
    )


def test_few_large_named_instances_go_through_buffers(body, make_view):
    view = make_view(
        [TensorSpec("x", DType.FP32, (None, 60, 60)), TensorSpec("n", DType.INT64, (None,))]
    )
    images = np.random.default_rng(0).random((2, 60, 60))
    instances = [{"x": image.tolist(), "n": index} for index, image in enumerate(images)]
    request = decode_predict(body({"instances": instances}), view)
    np.testing.assert_array_equal(request.inputs["x"], images.astype(np.float32))
    assert request.inputs["n"].tolist() == [0, 1]
    smaller = [*instances[:1], {"x": images[1][:59].tolist(), "n": 1}]
    assert "[59, 60] in instances[1] and [60, 60] in instances[0]" in refused(
        body({"instances": smaller}), view
    )
    assert "instances[1] has no 'n'" in refused(
        body({"instances": [instances[0], {"x": instances[1]["x"]}]}), view
    )
    ragged = [instances[0], {"x": [*instances[1]["x"][:59], [1.0]], "n": 1}]
    assert "is ragged" in refused(body({"instances": ragged}), view)


def test_a_key_with_a_nul_is_no_input(body, iris):
    assert r"has 'x\x00', which is no input" in refused(
        body({"instances": [{"x": ROW, "x\x00": 1}]}), iris
    )
    assert "inputs has no 'x'" in refused(body({"inputs": {"x\x00": [ROW]}}), iris)
