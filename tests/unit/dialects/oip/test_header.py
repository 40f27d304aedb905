"""Requests with tensors in binary, in the commonest form and in every other."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import ModelView
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.decode import decode_infer
from maas.dialects.oip.header import decode_header
from maas.dialects.oip.request import InferRequest
from maas.dialects.tensorjson.document import LARGE_BYTES

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [1, 2, 3, np.nan]], np.float32)


def tensor(**changes: Any) -> dict[str, Any]:
    sent = {
        "name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": 32},
        **changes,
    }  # fmt: skip
    return {key: value for key, value in sent.items() if value is not ...}


def decode(view: ModelView, request: Any, data: bytes = ROWS.tobytes()) -> InferRequest:
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    return decode_infer(text + data, view, len(text))


def refused(view: ModelView, request: Any, data: bytes = ROWS.tobytes()) -> str:
    with pytest.raises(MaasError) as caught:
        decode(view, request, data)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


COMMON = [
    {"inputs": [tensor()]},
    {"inputs": [tensor()], "id": "7", "parameters": {"binary_data_output": True}},
    {"inputs": [tensor()], "outputs": [{"name": "label", "parameters": {"binary_data": True}}]},
    {
        "inputs": [tensor()],
        "outputs": [{"name": "probabilities"}, {"name": "label", "parameters": {}}],
        "parameters": {"binary_data_output": False},
    },
]
UNUSUAL = [
    {"inputs": [tensor()], "parameters": {"timeout": 7}},
    {"inputs": [tensor()], "own": 1},
    {"inputs": [tensor(parameters={"binary_data_size": 32, "own": 1})]},
    {"inputs": [tensor()], "outputs": [{"name": "label", "parameters": {"classification": 1}}]},
    {"inputs": [tensor(parameters=..., data=ROWS.tolist()[:1], shape=[1, 4])]},
]


@pytest.mark.parametrize("request_", COMMON)
def test_the_common_form_means_the_same_either_way(iris: ModelView, request_: Any) -> None:
    text = json.dumps(request_).encode()
    signature = iris.signatures["serving_default"]
    quick = decode_header(text, memoryview(ROWS.tobytes()), signature)
    assert quick is not None
    slow = decode(iris, json.dumps({**request_, "unknown": {}}).encode())
    assert quick.inputs["x"].tobytes() == slow.inputs["x"].tobytes() == ROWS.tobytes()
    for name in ("rows", "outputs", "classes", "id", "timeout_s", "binary", "all_binary"):
        assert getattr(quick, name) == getattr(slow, name), name


@pytest.mark.parametrize("request_", UNUSUAL)
def test_what_is_unusual_is_left_to_the_general_way(iris: ModelView, request_: Any) -> None:
    text = json.dumps(request_).encode()
    signature = iris.signatures["serving_default"]
    assert decode_header(text, memoryview(ROWS.tobytes()), signature) is None


def test_json_and_binary_may_stand_side_by_side(make_view: Any) -> None:
    view = make_view(
        [
            TensorSpec("a", DType.INT64, (None, 2)),
            TensorSpec("b", DType.BYTES, (None, 1)),
            TensorSpec("c", DType.BF16, (None,)),
        ]
    )
    bf16 = np.array([1.5, -2], DType.BF16.numpy).tobytes()
    text = b"\x03\0\0\0\xe4\xb8\xad\0\0\0\0"
    sent = [
        {"name": "c", "shape": [2], "datatype": "BF16", "parameters": {"binary_data_size": 4}},
        {"name": "a", "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]},
        {"name": "b", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 11}},
    ]
    # A long JSON part is read in another way.
    for padding in (b"", b" " * (LARGE_BYTES + 1)):
        head = json.dumps({"inputs": sent}).encode() + padding
        inputs = decode(view, head, bf16 + text).inputs
        assert inputs["a"].tolist() == [[1, 2], [3, 4]]
        assert inputs["b"].tolist() == [["中".encode()], [b""]]
        assert inputs["c"].astype(float).tolist() == [1.5, -2]
    assert "1 bytes of the body are left over" in refused(
        view, {"inputs": sent}, bf16 + text + b"\0"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"parameters": {"binary_data_size": 33}}, "says binary_data_size 33 and 32 bytes"),
        ({"parameters": {"binary_data_size": 16}}, "has 16 bytes where its shape [2, 4] of FP32"),
        ({"parameters": {"binary_data_size": -1}}, "must be a whole number, 0 or more"),
        ({"parameters": {"binary_data_size": 32.0}}, "must be a whole number, 0 or more"),
        ({"parameters": {"binary_data_size": True}}, "must be a whole number, 0 or more"),
        ({"parameters": {"binary_data_size": None}}, "must be a whole number, 0 or more"),
        ({"data": [1]}, "both binary_data_size and data; send exactly one"),
        (
            {"shape": [1, 4], "parameters": {"binary_data_size": 16}},
            "16 bytes of the body are left",
        ),
        ({"shape": [4, 2]}, "has shape [4, 2]; expected x FP32 [n, 4]"),
        ({"shape": [8]}, "has shape [8]; expected x FP32 [n, 4]"),
        ({"shape": [-2, -4]}, "shape of input 'x' must be a list"),
        ({"shape": ...}, "shape of input 'x' must be a list"),
        ({"shape": [1] * 33}, "shape of input 'x' must be a list"),
        ({"datatype": "FP64"}, "is FP64; expected x FP32 [n, 4]"),
        ({"datatype": "BF16"}, "is BF16, which has no JSON form"),
        ({"name": "z"}, "there is no input 'z'"),
    ],
)
def test_what_is_wrong_is_said(iris: ModelView, changes: Any, sentence: str) -> None:
    assert sentence in refused(iris, {"inputs": [tensor(**changes)]})


def test_half_floats_travel_in_binary_alone(make_view: Any) -> None:
    for dtype in (DType.FP16, DType.BF16):
        view = make_view([TensorSpec("x", dtype, (None, 2))])
        sent = {"name": "x", "shape": [1, 2], "datatype": dtype.value}
        binary = {**sent, "parameters": {"binary_data_size": 4}}
        data = np.array([1, 2], dtype.numpy).tobytes()
        assert decode(view, {"inputs": [binary]}, data).inputs["x"].tobytes() == data
        message = refused(view, {"inputs": [{**sent, "data": [1, 2]}]}, b"")
        assert "send its bytes after the JSON" in message


def test_json_that_is_cut_off_is_invalid(iris: ModelView) -> None:
    text = json.dumps({"inputs": [tensor()]}).encode()
    with pytest.raises(MaasError, match="not valid JSON"):
        decode_infer(text + ROWS.tobytes(), iris, len(text) - 3)
    with pytest.raises(MaasError, match="not UTF-8 at byte"):
        decode_infer(text + ROWS.tobytes(), iris, len(text) + 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_are_a_request_or_an_error_of_ours(iris: ModelView, data: st.DataObject) -> None:
    text = json.dumps(data.draw(st.sampled_from(COMMON + UNUSUAL))).encode()
    body = bytearray(text + ROWS.tobytes())
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    length = data.draw(st.integers(0, len(body)) | st.just(min(len(text), len(body))))
    with contextlib.suppress(MaasError):
        request = decode_infer(bytes(body), iris, length)
        assert request.inputs["x"].shape == (request.rows, 4)
