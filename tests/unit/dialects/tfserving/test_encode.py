"""TensorFlow Serving's predict answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError, not_found
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tfserving.decode import PredictRequest
from maas.dialects.tfserving.encode import encode_error, encode_predict

X = TensorSpec("x", DType.FP32, (None,))


def asked(view, *, rows):
    return PredictRequest(view.signatures["serving_default"], {}, 1, rows)


def test_one_output_is_bare(make_view, reply):
    view = make_view([X], [TensorSpec("y", DType.FP32, (None, 2))])
    answer = reply(view, y=[[1, 0.1], [2, 1e20]])
    assert encode_predict(answer, asked(view, rows=True)) == (
        b'{"predictions":[[1.0,0.1],[2.0,1e+20]]}'
    )
    assert encode_predict(answer, asked(view, rows=False)) == (
        b'{"outputs":[[1.0,0.1],[2.0,1e+20]]}'
    )


def test_several_outputs_are_objects(iris, reply):
    answer = reply(iris, label=[0, 2], probabilities=[[0.9, 0.1, 0], [0, 0, 1]])
    assert json.loads(encode_predict(answer, asked(iris, rows=True))) == {
        "predictions": [
            {"label": 0, "probabilities": [0.9, 0.1, 0.0]},
            {"label": 2, "probabilities": [0.0, 0.0, 1.0]},
        ]
    }
    assert json.loads(encode_predict(answer, asked(iris, rows=False))) == {
        "outputs": {"label": [0, 2], "probabilities": [[0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]}
    }


@pytest.mark.parametrize("rows", [True, False])
def test_tokens_strings_and_every_kind_of_number(make_view, reply, rows):
    specs = [
        TensorSpec("f", DType.FP32, (None,)),
        TensorSpec("h", DType.FP16, (None, 1)),
        TensorSpec("b", DType.BOOL, (None,)),
        TensorSpec("u", DType.UINT64, (None,)),
        TensorSpec("s", DType.BYTES, (None, 1)),
        TensorSpec("raw_bytes", DType.BYTES, (None,)),
    ]
    view = make_view([X], specs)
    answer = reply(
        view,
        f=[np.nan, 0.1],
        h=[[1], [-np.inf]],
        b=[True, False],
        u=[0, 2**64 - 1],
        s=[[b"null"], [b"\xff"]],
        raw_bytes=[b"a", b""],
    )
    text = encode_predict(answer, asked(view, rows=rows))
    found = json.loads(text)
    if rows:
        first, second = found["predictions"]
    else:
        first, second = (
            {name: column[row] for name, column in found["outputs"].items()} for row in (0, 1)
        )
    assert np.isnan(first.pop("f"))
    assert first == {"h": [1.0], "b": True, "u": 0, "s": ["null"], "raw_bytes": {"b64": "YQ=="}}
    assert second == {
        "f": 0.1,
        "h": [-np.inf],
        "b": False,
        "u": 2**64 - 1,
        "s": [{"b64": "/w=="}],
        "raw_bytes": {"b64": ""},
    }
    assert b"null" not in text.replace(b'"null"', b"")


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_of_arrays_in_any_memory_order(make_view, reply, transposed):
    view = make_view(
        [X], [TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("b", DType.INT8, (None,))]
    )
    answer = reply(view, a=[[1, 2], [3, 4]], b=[1, 2])
    if transposed:
        answer.outputs["a"] = np.array([[1, 3], [2, 4]], np.float32).T
    assert json.loads(encode_predict(answer, asked(view, rows=True))) == {
        "predictions": [{"a": [1.0, 2.0], "b": 1}, {"a": [3.0, 4.0], "b": 2}]
    }


def test_base64_by_name_where_there_is_one_output(make_view, reply):
    view = make_view([X], [TensorSpec("jpeg_bytes", DType.BYTES, (None,))])
    text = encode_predict(reply(view, jpeg_bytes=[b"a"]), asked(view, rows=True))
    assert text == b'{"predictions":[{"b64":"YQ=="}]}'


@pytest.mark.parametrize(
    ("a", "b"),
    [(5, [1]), ([1], 5), ([1, 2], [1])],
)
def test_rows_need_an_axis_of_one_size(make_view, reply, a, b):
    view = make_view(
        [X], [TensorSpec("a", DType.INT64, (None,)), TensorSpec("b", DType.INT64, (None,))]
    )
    answer = reply(view, a=a, b=b)
    with pytest.raises(MaasError) as caught:
        encode_predict(answer, asked(view, rows=True))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "cannot be split into rows" in caught.value.message
    assert json.loads(encode_predict(answer, asked(view, rows=False))) == {
        "outputs": {"a": a, "b": b}
    }


def test_a_scalar_output_has_no_rows_but_a_column(make_view, reply):
    view = make_view([X], [TensorSpec("a", DType.FP32, ())])
    with pytest.raises(MaasError):
        encode_predict(reply(view, a=1), asked(view, rows=True))
    assert encode_predict(reply(view, a=1), asked(view, rows=False)) == b'{"outputs":1.0}'


def test_errors():
    assert encode_error(not_found("没有")) == '{"error":"没有"}'.encode()
