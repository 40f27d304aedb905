"""Plain answers: names, batch axis, labels, errors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.plain.decode import decode, parse
from maas.dialects.plain.encode import encode, encode_error

ROW = [5.1, 3.5, 1.4, 0.2]


def asked(view, content):
    return decode(parse(json.dumps(content).encode()), view.signatures["serving_default"])


def test_several_outputs_answer_under_their_names(iris, reply):
    answer = reply(iris, label=[0, 2], probabilities=[[0.9, 0.06, 0.04], [0, 0, 1]])
    for key in ("input_data", "x"):
        assert encode(answer, asked(iris, {key: [ROW, ROW]})) == (
            b'{"label":[0,2],"probabilities":[[0.9,0.06,0.04],[0.0,0.0,1.0]]}'
        )


def test_the_batch_axis_that_was_added_is_taken_off(iris, reply):
    answer = reply(iris, label=[1], probabilities=[[0.1, 0.8, 0.1]])
    text = encode(answer, asked(iris, {"input_data": ROW}))
    assert text == b'{"label":1,"probabilities":[0.1,0.8,0.1]}'
    text = encode(answer, asked(iris, {"input_data": ROW}), classify=True)
    assert json.loads(text)["prediction"] == "versicolor"


def test_one_output_speaks_as_the_question_did(make_view, reply):
    view = make_view(
        [TensorSpec("images", DType.FP32, (None, 2))], [TensorSpec("scores", DType.FP32, (None, 3))]
    )
    answer = reply(view, scores=[[0.1, 0.7, 0.2]])
    named = json.loads(encode(answer, asked(view, {"images": [[1, 2]]})))
    assert np.argmax(named["scores"]) == 1
    assert (
        encode(answer, asked(view, {"input_data": [[1, 2]]})) == b'{"prediction":[[0.1,0.7,0.2]]}'
    )
    assert encode(answer, asked(view, {"input_data": [1, 2]})) == b'{"prediction":[0.1,0.7,0.2]}'
    assert encode(answer, asked(view, {"input_data": {"images": [1, 2]}})) == (
        b'{"prediction":[0.1,0.7,0.2]}'
    )


def test_outputs_without_a_batch_axis_stay_whole(make_view, reply):
    view = make_view(
        [TensorSpec("x", DType.FP32, (None,))],
        [TensorSpec("mean", DType.FP32, ()), TensorSpec("pair", DType.INT64, (2,))],
        batched=False,
    )
    text = encode(reply(view, mean=0.5, pair=[1, 2]), asked(view, {"x": 1}))
    assert text == b'{"mean":0.5,"pair":[1,2]}'


def test_values_that_are_not_finite_and_texts(make_view, reply):
    view = make_view(
        [TensorSpec("x", DType.FP32, (None,))],
        [TensorSpec("y", DType.FP32, (None,)), TensorSpec("文本", DType.BYTES, (None,))],
    )
    text = encode(
        reply(view, y=[np.nan, np.inf], 文本=["好".encode(), b"\xff"]), asked(view, {"x": [1, 2]})
    )
    assert text == '{"y":[NaN,Infinity],"文本":["好",{"b64":"/w=="}]}'.encode()


def test_classify_answers_the_labels_and_what_they_were_not_read_from(iris, reply):
    answer = reply(iris, label=[0, 2], probabilities=[[1, 0, 0], [0, 0, 1]])
    text = encode(answer, asked(iris, {"input_data": [ROW, ROW]}), classify=True)
    assert json.loads(text) == {
        "prediction": ["setosa", "virginica"],
        "probabilities": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
    }


def test_errors_hold_kind_message_and_request_id():
    error = MaasError(ErrorKind.NOT_FOUND, "没有模型 'x'")
    text = encode_error(error, "r-1")
    assert "没有模型".encode() in text
    assert json.loads(text) == {
        "error": {"kind": "not_found", "message": "没有模型 'x'", "request_id": "r-1"}
    }


def test_classify_of_a_regression_says_so(make_view, reply):
    view = make_view([TensorSpec("x", DType.FP32, (None,))])
    with pytest.raises(MaasError) as caught:
        encode(reply(view, y=[0.5]), asked(view, {"x": [1]}), classify=True)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "m:3 is no classifier" in caught.value.message
