"""MLflow's four forms, CSV and `.npy`."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import DType, TensorSpec
from maas.dialects.media import Media, parse_media
from maas.dialects.mlflow.decode import decode_invocation
from maas.dialects.tensorjson.document import LARGE_BYTES

JSON = Media("application/json", {})
CSV = Media("text/csv", {})
OUTPUT = (TensorSpec("y", DType.FP32, (None,)),)
MATRIX = Signature("s", (TensorSpec("x", DType.FP32, (None, 2)),), OUTPUT, True)
LABELLED = Signature("s", (TensorSpec("x", DType.FP32, (None, 2), ("b", "a")),), OUTPUT, True)
TEXT = Signature("s", (TensorSpec("text", DType.BYTES, (None,)),), OUTPUT, True)
MIXED = Signature(
    "s",
    (TensorSpec("n", DType.FP32, (None, 1)), TensorSpec("t", DType.BYTES, (None, 1))),
    OUTPUT,
    True,
)


def decode(content: Any, signature: Signature, media: Media = JSON) -> dict[str, list[Any]]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = decode_invocation(body, media, signature)
    assert request.rows == check_inputs(signature, request.inputs)
    return {name: array.tolist() for name, array in request.inputs.items()}


def refusal(content: Any, signature: Signature = MATRIX, media: Media = JSON) -> MaasError:
    with pytest.raises(MaasError) as caught:
        decode(content, signature, media)
    return caught.value


ROWS = {"x": [[1.0, 2.0], [3.0, 4.0]]}
SPLIT = {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": {"data": [[1, 2], [3, 4]]}},
        {"dataframe_split": {"columns": [0, 1], "data": [[1, 2], [3, 4]]}, "params": {"k": 1}},
        {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": [[1, 2], [3, 4]], "params": None},
        {"inputs": {"x": [[1, 2], [3, 4]]}},
        {"inputs": {"a": [1, 3], "b": [2, 4]}},
        {"inputs": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
    ],
)
def test_every_form_gives_the_same_rows(body):
    assert decode(body, MATRIX) == ROWS
    # The same through the reader of large bodies.
    assert decode(json.dumps(body).encode() + b" " * LARGE_BYTES, MATRIX) == ROWS


@pytest.mark.parametrize("params", [{"k": 1}, {"k": None}])
def test_params_that_would_be_lost_are_refused(params):
    body = {"inputs": [[1, 2]], "params": params}
    assert decode(body, MATRIX) == {"x": [[1.0, 2.0]]}
    with pytest.raises(MaasError, match="keeps the defaults") as caught:
        decode_invocation(json.dumps(body).encode(), JSON, MATRIX, keeps_params=True)
    assert caught.value.kind is ErrorKind.UNIMPLEMENTED
    for nothing in ({}, None):
        body = {"inputs": [[1, 2]], "params": nothing}
        text = json.dumps(body).encode()
        assert decode_invocation(text, JSON, MATRIX, keeps_params=True).rows == 1


def test_columns_are_found_by_name_and_others_ignored():
    turned = {"x": [[2.0, 1.0]]}
    assert decode({"dataframe_records": [{"a": 1, "b": 2, "c": "no"}]}, LABELLED) == turned
    split = {"columns": ["c", "a", "b"], "data": [["no", 1, 2]]}
    assert decode({"dataframe_split": split}, LABELLED) == turned
    assert decode({"instances": [{"a": 1, "b": 2}]}, LABELLED) == turned
    assert decode({"inputs": {"a": [1], "b": [2]}}, LABELLED) == turned
    assert decode(b"c,a,b\nno,1,2\n", LABELLED, CSV) == turned
    assert "no column 'b'" in refusal({"dataframe_records": [{"a": 1}]}, LABELLED).message


def test_several_inputs():
    expected = {"n": [[1.0], [2.0]], "t": [[b"a"], [b"b"]]}
    assert decode({"inputs": {"n": [1, 2], "t": ["a", "b"], "u": 0}}, MIXED) == expected
    assert decode({"instances": [{"n": 1, "t": "a"}, {"t": "b", "n": 2}]}, MIXED) == expected
    assert decode(b"n,t\n1,a\n2,b\n", MIXED, CSV) == expected
    assert decode({"inputs": {"n": 1, "t": "a"}}, MIXED) == {"n": [[1.0]], "t": [[b"a"]]}
    assert "objects with each value" in refusal({"instances": [[1, "a"]]}, MIXED).message
    assert "no column 't'" in refusal({"inputs": {"n": [1]}}, MIXED).message


def test_texts():
    assert decode({"inputs": ["a", {"b64": "/w=="}]}, TEXT) == {"text": [b"a", b"\xff"]}
    assert decode({"inputs": "a"}, TEXT) == {"text": [b"a"]}
    assert decode({"dataframe_split": {"columns": ["any"], "data": [["a"]]}}, TEXT) == {
        "text": [b"a"]
    }


def test_large_tables_of_numbers_take_the_short_way_and_say_the_same():
    data = np.arange(20_000, dtype=np.float32).reshape(-1, 2).tolist()
    split = {"columns": ["a", "b"], "data": data}
    assert decode({"dataframe_split": split}, MATRIX) == {"x": data}
    assert decode({"dataframe_split": split}, LABELLED) == {"x": [[b, a] for a, b in data]}
    data[5000][1] = None
    assert np.isnan(decode({"dataframe_split": split}, MATRIX)["x"][5000][1])
    data[5000] = [1]
    assert "data[5000]" in refusal({"dataframe_split": split}).message
    assert "has 3 columns" not in refusal({"dataframe_split": split | {"columns": "abc"}}).message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([[1, 2]], "a list; expected a JSON object"),
        ({}, "exactly one of"),
        ({"data": [[1, 2]]}, "'data'"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "instances and inputs"),
        ({"inputs": [[1, 2]], "params": []}, "params"),
        ({"inputs": [[1, 2, 3]]}, "shape"),
        ({"inputs": []}, "shape"),
        ({"inputs": {}}, "same length"),
        ({"inputs": {"a": [1, 2], "b": [1]}}, "same length"),
        ({"inputs": {"a\u0000": [1, 2]}}, "columns"),
        ({"instances": [{"a": 1}, 2]}, "instances[1]"),
        ({"instances": [["a", "b"]]}, "expected numbers"),
        ({"dataframe_records": {}}, "must be a list"),
        ({"dataframe_records": []}, "no rows"),
        ({"dataframe_records": [{}]}, "no rows"),
        ({"dataframe_records": [1]}, "no object"),
        ({"dataframe_split": []}, "must be an object"),
        ({"dataframe_split": {"columns": []}}, "must be an object"),
        ({"dataframe_split": SPLIT | {"dtype": 1}}, "'dtype'"),
        ({"dataframe_split": SPLIT | {"data": []}}, "no rows"),
        ({"dataframe_split": SPLIT | {"data": [[1]]}}, "data[0]"),
        ({"dataframe_split": SPLIT | {"data": [1]}}, "data[0]"),
        ({"dataframe_split": SPLIT | {"columns": ["a", "a"]}}, "twice"),
        ({"dataframe_split": SPLIT | {"columns": ["a", None]}}, "list of names"),
    ],
)
def test_what_is_wrong_is_said(body, said):
    for content in (body, json.dumps(body).encode() + b" " * LARGE_BYTES):
        error = refusal(content)
        assert error.kind is ErrorKind.INVALID_ARGUMENT
        assert said in error.message


def test_many_names_take_no_longer_than_few():
    many = [f"c{number}" for number in range(300_000)]
    columns = {"columns": [*many, many[-1]], "data": [[1]]}
    assert "'c299999' twice" in refusal({"dataframe_split": columns}).message
    named = {"inputs": {name: [1] for name in many}}
    assert "columns" in refusal(named).message


def test_a_table_of_ever_new_columns_is_bounded():
    records = [{f"c{index}": 1} for index in range(3000)]
    assert "too many" in refusal({"dataframe_records": records}).message


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"application/json; charset=latin-1",
        b"text/csv; charset=gb18030",
        b"application/json; format=pandas-split",
        b"text/csv; label_size=0",
        b"text/csv; header=perhaps",
        b"application/vnd.apache.parquet",
    ],
)
def test_other_content_types_are_not_read(header):
    assert refusal({}, media=parse_media(header)).kind is ErrorKind.UNSUPPORTED_MEDIA


def test_csv_without_a_header():
    assert decode(b"1,2\n3,4\n", MATRIX, CSV) == ROWS
    absent = parse_media(b"text/csv; header=absent; charset=utf-8")
    assert decode(b"0,1\n", MATRIX, absent) == {"x": [[0.0, 1.0]]}
    assert decode("城,b\n1,2\n3,4\n".encode("gb18030"), MATRIX, CSV) == ROWS


def test_npy():
    file = io.BytesIO()
    np.save(file, np.array([[1, 2], [3, 4]]))
    media = parse_media(b"application/x-npy")
    assert decode(file.getvalue(), MATRIX, media) == ROWS
    assert "inputs by name" in refusal(file.getvalue(), MIXED, media).message


CELL = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
VALUE = st.recursive(
    CELL,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["columns", "index", "data", "x", "n", "t", "b64", "a", "b", "\0"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)
FORM = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params"])
SIGNATURES = [MATRIX, LABELLED, TEXT, MIXED]


@given(st.dictionaries(FORM, VALUE, max_size=2), st.booleans())
def test_any_json_is_a_request_or_an_error_of_ours(body, large):
    text = json.dumps(body).encode() + b" " * (LARGE_BYTES if large else 0)
    for signature in SIGNATURES:
        try:
            request = decode_invocation(text, JSON, signature)
        except MaasError as error:
            assert error.kind is ErrorKind.INVALID_ARGUMENT  # noqa: PT017 - or none
        else:
            assert check_inputs(signature, request.inputs) == request.rows


@given(st.binary(max_size=60) | st.text('ab,"\n\r01.', max_size=60).map(str.encode), st.booleans())
def test_any_bytes_are_a_request_or_an_error_of_ours(body, declared):
    for kind in ("application/json", "text/csv", "application/x-npy"):
        media = Media(kind, {"charset": "utf-8"} if declared else {})
        for signature in SIGNATURES:
            try:
                request = decode_invocation(body, media, signature)
            except MaasError as error:
                assert error.kind is ErrorKind.INVALID_ARGUMENT  # noqa: PT017 - or none
            else:
                assert check_inputs(signature, request.inputs) == request.rows
