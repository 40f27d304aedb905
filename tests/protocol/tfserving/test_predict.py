"""TensorFlow Serving's REST API: predict by rows and by columns.

https://www.tensorflow.org/tfx/serving/api_rest, and `json_tensor.cc` where that differs.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest
from tests import zoo
from tests.answers import bare_error

IRIS = "/v1/models/iris:predict"
COUNTS = "/v1/models/counts:predict"
PAIR = "/v1/models/pair:predict"
WORDS = "/v1/models/words:predict"
FLOWERS = [zoo.FLOWER, [6.7, 3.0, 5.2, 2.3]]


def b64(text: str) -> dict[str, str]:
    return {"b64": base64.b64encode(text.encode()).decode()}


def test_rows_of_one_input_and_one_output_are_bare(server):
    answer = server.post(COUNTS, {"instances": [[1, 2, 3], [4, 5, 6]]})
    assert answer.text == '{"predictions":[[6],[15]]}'
    assert answer.headers["content-type"] == "application/json"


def test_rows_with_names(server):
    answer = server.post(COUNTS, {"instances": [{"counts": [1, 2, 3]}, {"counts": [4, 5, 6]}]})
    assert answer.json() == {"predictions": [[6], [15]]}


def test_rows_of_several_outputs_are_objects(server):
    rows = server.post(IRIS, {"instances": FLOWERS}).json()["predictions"]
    assert [row["label"] for row in rows] == [0, 2]
    assert all(len(row["probabilities"]) == 3 for row in rows)


def test_rows_of_several_inputs(server):
    body = {"instances": [{"a": [1, 2], "b": [3, 4]}, {"b": [7, 8], "a": [5, 6]}]}
    assert server.post(PAIR, body).json() == {
        "predictions": [{"sum": [4, 6], "product": [3, 8]}, {"sum": [12, 14], "product": [35, 48]}]
    }


def test_columns_of_one_input_are_bare(server):
    assert server.post(COUNTS, {"inputs": [[1, 2, 3]]}).text == '{"outputs":[[6]]}'


def test_columns_with_names_ignore_what_they_do_not_know(server):
    assert server.post(COUNTS, {"inputs": {"counts": [[1, 2, 3]], "other": "x"}}).json() == {
        "outputs": [[6]]
    }


def test_columns_of_several_outputs(server):
    answer = server.post(PAIR, {"inputs": {"a": [[1, 2]], "b": [[3, 4]]}})
    assert answer.json() == {"outputs": {"sum": [[4, 6]], "product": [[3, 8]]}}


def test_texts(server):
    rows = server.post(WORDS, {"instances": [zoo.TEXT, "新手机的芯片"]}).json()["predictions"]
    assert [row["label"] for row in rows] == ["体育", "科技"]


def test_texts_in_base64(server):
    rows = server.post(WORDS, {"instances": [b64(zoo.TEXT)]}).json()["predictions"]
    assert rows[0]["label"] == "体育"
    rows = server.post(WORDS, {"instances": [{"text": b64(zoo.TEXT)}]}).json()["predictions"]
    assert rows[0]["label"] == "体育"
    answer = server.post(WORDS, {"inputs": {"text": [b64(zoo.TEXT)]}}).json()["outputs"]
    assert answer["label"] == ["体育"]


def test_an_image(server):
    image = [[[[0, 0.5, 0]] * 299] * 299]
    scores = server.post("/v1/models/my_model:predict", {"inputs": image}).json()["outputs"]
    assert max(range(1000), key=scores[0].__getitem__) == 456
    scores = server.post("/v1/models/my_model:predict", {"instances": image}).json()["predictions"]
    assert max(range(1000), key=scores[0].__getitem__) == 456


@pytest.mark.parametrize(
    ("path", "label", "model"),
    [
        ("iris", 0, "iris:1"),
        ("iris/versions/1", 0, "iris:1"),
        ("iris/versions/2", 2, "iris:2"),
        ("iris/labels/prod", 0, "iris:1"),
        ("iris/labels/next", 2, "iris:2"),
    ],
)
def test_versions_and_labels(server, path, label, model):
    answer = server.post(f"/v1/models/{path}:predict", {"instances": [zoo.FLOWER]})
    assert answer.json()["predictions"][0]["label"] == label
    assert answer.headers["maas-model"] == model


@pytest.mark.parametrize("name", ["", "serving_default"])
def test_the_signature_by_name(server, name):
    body = {"signature_name": name, "instances": [[1, 2, 3]]}
    assert server.post(COUNTS, body).json() == {"predictions": [[6]]}


def test_floats_and_what_is_not_finite(server):
    body = '{"instances": [[0.05, 8], [NaN, Infinity], [-Infinity, 1e-7]]}'
    assert server.post("/v1/models/%E8%8A%B1:predict", body).text == (
        '{"predictions":[[0.1,16.0],[NaN,Infinity],[-Infinity,2e-7]]}'
    )


def test_what_is_not_finite_in_objects(server):
    body = '{"instances": [{"a": [NaN, 1], "b": [1, 1]}]}'
    assert server.post(PAIR, body).text == (
        '{"predictions":[{"sum":[NaN,2.0],"product":[NaN,1.0]}]}'
    )


def test_a_compressed_body(server):
    body = gzip.compress(b'{"instances": [[1, 2, 3]]}')
    answer = server.post(COUNTS, body, headers={"content-encoding": "gzip"})
    assert answer.json() == {"predictions": [[6]]}


CASES: dict[str, tuple[str, Any, str]] = {
    "neither": (COUNTS, {}, "neither"),
    "both": (COUNTS, {"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}, "both"),
    "no instances": (COUNTS, {"instances": []}, "at least one"),
    "instances that are no list": (COUNTS, {"instances": {"counts": [[1, 2, 3]]}}, "list"),
    "a row without an input": (PAIR, {"instances": [{"a": [1, 2]}]}, "'b'"),
    "a row with one too many": (
        PAIR,
        {"instances": [{"a": [1, 2], "b": [1, 2], "c": 1}]},
        "'c'",
    ),
    "rows unlike": (PAIR, {"instances": [{"a": [1, 2], "b": [1, 2]}, [1, 2]]}, "instances[1]"),
    "rows of unlike shape": (COUNTS, {"instances": [[1, 2, 3], [1, 2]]}, "ragged"),
    "bare rows for two inputs": (PAIR, {"instances": [[1, 2]]}, "2 inputs"),
    "a bare column for two inputs": (PAIR, {"inputs": [[1, 2]]}, "2 inputs"),
    "a column missing": (PAIR, {"inputs": {"a": [[1, 2]]}}, "'b'"),
    "base64 for numbers": (COUNTS, {"instances": [b64("x")]}, "counts"),
    "base64 that is none": (WORDS, {"instances": [{"b64": "%"}]}, "base64"),
    "base64 among others": (WORDS, {"instances": [{"b64": "YQ==", "text": "x"}]}, "b64"),
    "1.0 for an integer": (COUNTS, {"instances": [[1, 1.0, 3]]}, "1.0"),
    "NaN for an integer": (COUNTS, b'{"instances": [[1, NaN, 3]]}', "NaN"),
    "text for a number": (COUNTS, {"instances": [["1", "2", "3"]]}, '"1"'),
    "another shape": (COUNTS, {"instances": [[1, 2]]}, "[n, 3]"),
    "no such signature": (COUNTS, {"signature_name": "x", "instances": [[1, 2, 3]]}, "'x'"),
    "a signature that is no string": (COUNTS, {"signature_name": 1, "instances": [1]}, "string"),
    "not JSON": (COUNTS, b"instances=1", "JSON"),
    "empty": (COUNTS, b"", "empty"),
    "a list": (COUNTS, b"[[1, 2, 3]]", "list"),
    "deep": (COUNTS, b'{"instances":' + b"[" * 250_000, "100"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_requests(server, case):
    path, body, word = CASES[case]
    assert word in bare_error(server.post(path, body), 400)


@pytest.mark.parametrize(
    "path",
    ["nobody", "iris/versions/9", "iris/labels/nobody"],
)
def test_what_is_not_there(server, path):
    answer = server.post(f"/v1/models/{path}:predict", {"instances": [zoo.FLOWER]})
    bare_error(answer, 404)
    bare_error(server.get(f"/v1/models/{path}"), 404)
    bare_error(server.get(f"/v1/models/{path}/metadata"), 404)


@pytest.mark.parametrize(
    "path",
    [
        "iris:fit",
        "iris:",
        "iris/predict",
        "iris/versions:predict",
        "iris/versions/one:predict",
        "iris/versions/-1:predict",
        "iris/versions/1/labels/prod:predict",
        "iris/versions/1/x",
        "",
        ":predict",
    ],
)
def test_malformed_routes(server, path):
    bare_error(server.post(f"/v1/models/{path}", {"instances": [zoo.FLOWER]}), 400)
