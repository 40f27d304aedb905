from __future__ import annotations

import io
import json

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.mlflow.encode import ERROR_CODES, encode_error, encode_npy, encode_predictions


def test_a_classifier_answers_as_its_predict(iris, reply):
    answer = reply(iris, label=[0, 2], probabilities=[[1, 0, 0], [0, 0, 1]])
    assert json.loads(encode_predictions(answer)) == {"predictions": ["setosa", "virginica"]}
    assert np.load(io.BytesIO(encode_npy(answer))).tolist() == ["setosa", "virginica"]


def test_one_output_is_its_values(make_view, reply):
    view = make_view([], [TensorSpec("y", DType.FP32, (None, 2))])
    answer = reply(view, y=[[1, np.nan]])
    assert encode_predictions(answer) == b'{"predictions":[[1.0,NaN]]}'
    np.testing.assert_array_equal(np.load(io.BytesIO(encode_npy(answer))), [[1, np.nan]])


def test_several_outputs_are_rows(make_view, reply):
    outputs = [TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("t", DType.BYTES, (None,))]
    view = make_view([], outputs)
    answer = reply(view, a=[[1, 2], [3, np.inf]], t=[b"x", b"\xff"])
    assert encode_predictions(answer) == (
        b'{"predictions":[{"a":[1.0,2.0],"t":"x"},{"a":[3.0,Infinity],"t":{"b64":"/w=="}}]}'
    )
    with pytest.raises(MaasError, match="application/json"):
        encode_npy(answer)


def test_outputs_without_common_rows_are_one_object(make_view, reply):
    outputs = [TensorSpec("a", DType.INT64, (None,)), TensorSpec("b", DType.INT64, ())]
    answer = reply(make_view([], outputs), a=[1, 2], b=3)
    assert json.loads(encode_predictions(answer)) == {"predictions": {"a": [1, 2], "b": 3}}


def test_errors_have_mlflows_codes():
    assert set(ERROR_CODES) == set(ErrorKind)
    error = MaasError(ErrorKind.NOT_FOUND, "no such model: 花")
    assert json.loads(encode_error(error)) == {
        "error_code": "RESOURCE_DOES_NOT_EXIST",
        "message": "no such model: 花",
    }
