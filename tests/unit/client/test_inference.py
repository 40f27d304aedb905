from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from maas.client.call import Call
from maas.client.errors import ApiError
from maas.client.inference import ModelMetadata, Predictor, encode_request
from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec

ROW = [5.1, 3.5, 1.4, 0.2]


def metadata(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 4)) -> bytes:
    tensor = {"name": "x", "datatype": datatype, "shape": shape}
    out = {"name": "y", "datatype": "FP32", "shape": [-1]}
    return json.dumps({"name": "m", "inputs": [tensor], "outputs": [out]}).encode()


def reply(outputs: list[dict[str, Any]] | None = None, version: str = "1") -> bytes:
    outputs = outputs or [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]}]
    return json.dumps({"model_version": version, "outputs": outputs}).encode()


def run(predictor: Predictor, data: Any, *answers: bytes | MaasError) -> tuple[Any, list[Call]]:
    """Drives a prediction with prepared answers; returns its result and the calls it made."""
    flow = predictor.predict("m", data, None)
    calls = [next(flow)]
    for answer in answers:
        try:
            if isinstance(answer, MaasError):
                calls.append(flow.throw(answer))
            else:
                calls.append(flow.send(calls[-1].parse(answer)))
        except StopIteration as stop:
            return stop.value, calls
    raise AssertionError(f"the flow wants more: {calls[-1]}")


def paths(calls: list[Call]) -> list[str]:
    return [f"{call.method} {call.path}" for call in calls]


def test_metadata_is_asked_for_once() -> None:
    predictor = Predictor()
    result, calls = run(predictor, [ROW], metadata(), reply())
    assert paths(calls) == ["GET /v2/models/m", "POST /v2/models/m/infer"]
    assert result["y"].tolist() == [0.5]
    assert result["y"].dtype == np.float32
    sent = json.loads(calls[1].body or b"")
    assert sent == {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}]}
    _, calls = run(predictor, [ROW], reply())
    assert paths(calls) == ["POST /v2/models/m/infer"]


def test_a_refusal_is_believed_only_after_the_metadata_is_read_again() -> None:
    predictor = Predictor()
    run(predictor, [[1, 2, 3, 4]], metadata(), reply())
    refused = ApiError(ErrorKind.INVALID_ARGUMENT, "x is INT64")
    _, calls = run(predictor, [[1, 2, 3, 4]], refused, metadata("INT64"), reply())
    assert json.loads(calls[-1].body or b"")["inputs"][0]["datatype"] == "INT64"
    with pytest.raises(ApiError, match="x is INT64"):
        run(predictor, [[1, 2, 3, 4]], refused, metadata("INT64"))


def test_values_that_fit_only_the_new_version_pass() -> None:
    predictor = Predictor()
    run(predictor, [ROW], metadata(), reply())
    _, calls = run(predictor, [[1, 2]], metadata(shape=(-1, 2)), reply())
    assert paths(calls) == ["GET /v2/models/m", "POST /v2/models/m/infer"]


def test_a_refusal_of_fresh_metadata_is_believed_at_once() -> None:
    with pytest.raises(ApiError, match="no"):
        run(Predictor(), [ROW], metadata(), ApiError(ErrorKind.INVALID_ARGUMENT, "no"))


def test_other_errors_do_not_ask_again() -> None:
    predictor = Predictor()
    run(predictor, [ROW], metadata(), reply())
    with pytest.raises(ApiError, match="busy"):
        run(predictor, [ROW], ApiError(ErrorKind.RESOURCE_EXHAUSTED, "busy"))


def test_another_version_that_answers_makes_the_metadata_be_read_again() -> None:
    predictor = Predictor()
    run(predictor, [ROW], metadata(), reply(version="1"))
    run(predictor, [ROW], reply(version="2"))
    _, calls = run(predictor, [ROW], metadata(), reply(version="2"))
    assert calls[0].method == "GET"


def test_the_batch_axis_that_was_added_is_taken_off_again() -> None:
    result, calls = run(Predictor(), ROW, metadata(), reply())
    assert json.loads(calls[1].body or b"")["inputs"][0]["shape"] == [1, 4]
    assert result["y"].shape == ()


def test_nan_and_infinities_pass_both_ways() -> None:
    outputs = b'[{"name": "y", "datatype": "FP64", "shape": [3], "data": [NaN, -Infinity, 1.0]}]'
    answer = b'{"model_version": "1", "outputs": ' + outputs + b"}"
    row = [[float("nan"), float("inf"), 1, 2]]
    result, calls = run(Predictor(), row, metadata(), answer)
    assert b"[NaN, Infinity, 1.0, 2.0]" in (calls[1].body or b"")
    assert np.isnan(result["y"][0])
    assert result["y"][1] == -np.inf


def test_texts_come_back_as_str() -> None:
    outputs = [{"name": "y", "datatype": "BYTES", "shape": [2, 1], "data": ["好", "坏"]}]
    result, _ = run(Predictor(), ["a"], metadata("BYTES", (-1,)), reply(outputs))
    assert result["y"].tolist() == [["好"], ["坏"]]
    assert result["y"].dtype == object


@pytest.mark.parametrize("data", [[[1, 2], [3, 4]], [1, 2, 3, 4]])
def test_data_may_come_nested_or_flat(data: Any) -> None:
    outputs = [{"name": "y", "datatype": "INT64", "shape": [2, 2], "data": data}]
    result, _ = run(Predictor(), [ROW], metadata(), reply(outputs))
    assert result["y"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"outputs": [{"name": "y"}]}',
        reply([{"name": "y", "datatype": "FP32", "shape": [3], "data": [1]}]),
        reply([{"name": "y", "datatype": "UINT8", "shape": [1], "data": [-1]}]),
        reply([{"name": "y", "datatype": "BYTES", "shape": [2], "data": ["a"]}]),
        reply([{"name": "y", "datatype": "FP32", "shape": [1], "data": [{}]}]),
    ],
)
def test_an_answer_that_is_none_is_one_sentence(answer: bytes) -> None:
    with pytest.raises(MaasError) as caught:
        run(Predictor(), [ROW], metadata(), answer)
    assert caught.value.kind is ErrorKind.INTERNAL


def test_names_versions_and_aliases() -> None:
    predictor = Predictor()
    assert predictor.metadata("m:3").path == "/v2/models/m/versions/3"
    assert predictor.metadata("m@prod").path == "/v2/models/m@prod"
    assert predictor.metadata("花@产").path == "/v2/models/%E8%8A%B1@%E4%BA%A7"
    for wrong in ("", "../x", "m:x", "m@", "m@a/b", "m:"):
        with pytest.raises(MaasError):
            predictor.metadata(wrong)


def test_an_unknown_output_is_refused_with_those_there_are() -> None:
    known = ModelMetadata("m", (), (TensorSpec("y", DType.FP32, (None,)),))
    with pytest.raises(MaasError, match="no output 'z'; expected y"):
        encode_request(known, {}, ["z"])
    assert json.loads(encode_request(known, {}, ["y"]))["outputs"] == [{"name": "y"}]


def test_fp16_says_where_to_go_instead() -> None:
    with pytest.raises(MaasError, match="/NAME/predict"):
        run(Predictor(), [ROW], metadata("FP16"))


def test_a_datatype_from_the_future() -> None:
    with pytest.raises(MaasError, match="'FP8'") as caught:
        run(Predictor(), [ROW], metadata("FP8"))
    assert caught.value.kind is ErrorKind.UNIMPLEMENTED
