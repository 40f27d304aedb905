"""TensorFlow Serving's REST API: classify and regress.

https://www.tensorflow.org/tfx/serving/api_rest#classify_and_regress_api, and `json_tensor.cc`
where that differs: the answer is under `results`.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests import zoo
from tests.answers import bare_error

FLOWERS = "/v1/models/flowers"
COUNTS = "/v1/models/counts:regress"
WORDS = "/v1/models/words:classify"


def test_scores_under_their_labels(server):
    sent = {"examples": [{"x": zoo.FLOWER}, {"x": [6.7, 3.0, 5.2, 2.3]}]}
    first, second = server.post(f"{FLOWERS}:classify", sent).json()["results"]
    assert [label for label, _ in first] == ["setosa", "versicolor", "virginica"]
    assert max(first, key=lambda one: one[1])[0] == "setosa"
    assert max(second, key=lambda one: one[1])[0] == "virginica"
    assert sum(score for _, score in first) == pytest.approx(1, abs=1e-5)


def test_it_is_what_predict_says(server):
    sent = {"examples": [{"x": zoo.FLOWER}]}
    [row] = server.post(f"{FLOWERS}:classify", sent).json()["results"]
    [answer] = server.post(f"{FLOWERS}:predict", {"instances": [zoo.FLOWER]}).json()["predictions"]
    assert [score for _, score in row] == answer["probabilities"]


@pytest.mark.parametrize(
    ("path", "label", "model"),
    [
        ("iris", "0", "iris:1"),
        ("iris/versions/2", "2", "iris:2"),
        ("iris/labels/prod", "0", "iris:1"),
        ("iris/labels/next", "2", "iris:2"),
    ],
)
def test_versions_and_labels(server, path, label, model):
    answer = server.post(f"/v1/models/{path}:classify", {"examples": [{"x": zoo.FLOWER}]})
    assert max(answer.json()["results"][0], key=lambda one: one[1])[0] == label
    assert answer.headers["maas-model"] == model


def test_texts_and_b64(server):
    coded = {"b64": base64.b64encode(zoo.TEXT.encode()).decode()}
    rows = server.post(WORDS, {"examples": [{"text": zoo.TEXT}, {"text": coded}]}).json()["results"]
    assert rows[0] == rows[1]
    assert max(rows[0], key=lambda one: one[1])[0] == "体育"


def test_numbers(server):
    sent = {"context": {"counts": [1, 1, 1]}, "examples": [{}, {"counts": [1, 2, 3]}]}
    assert server.post(COUNTS, sent).text == '{"results":[3.0,6.0]}'


def test_the_signature_by_name(server):
    sent = {"signature_name": "serving_default", "examples": [{"counts": [1, 2, 3]}]}
    assert server.post(COUNTS, sent).json() == {"results": [6]}


CASES: dict[str, tuple[str, Any, str]] = {
    "no examples": (COUNTS, {}, "examples"),
    "instances instead": (COUNTS, {"instances": [[1, 2, 3]]}, "examples"),
    "an empty list": (COUNTS, {"examples": []}, "at least one"),
    "an object": (COUNTS, {"examples": {"counts": [1, 2, 3]}}, "list"),
    "a bare row": (COUNTS, {"examples": [[1, 2, 3]]}, "object"),
    "a context that is no example": (COUNTS, {"examples": [{}], "context": [1]}, "context"),
    "a feature missing": (COUNTS, {"examples": [{"x": 1}]}, "'counts'"),
    "a feature too short": (COUNTS, {"examples": [{"counts": [1, 2]}]}, "expected 3"),
    "a nested feature": (COUNTS, {"examples": [{"counts": [[1, 2, 3]]}]}, "a list"),
    "1.0 for an integer": (COUNTS, {"examples": [{"counts": [1, 1.0, 3]}]}, "1.0"),
    "text for a number": (COUNTS, {"examples": [{"counts": ["1", "2", "3"]}]}, "strings"),
    "null": (COUNTS, {"examples": [{"counts": None}]}, "null"),
    "base64 that is none": (WORDS, {"examples": [{"text": {"b64": "%"}}]}, "base64"),
    "no such signature": (COUNTS, {"signature_name": "x", "examples": [{"counts": [1]}]}, "'x'"),
    "a classifier to regress": (f"{FLOWERS}:regress", {"examples": [{"x": 1}]}, "cannot regress"),
    "two outputs": ("/v1/models/pair:classify", {"examples": [{"a": 1}]}, "cannot classify"),
    "not JSON": (COUNTS, b"examples=1", "JSON"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_requests(server, case):
    path, body, word = CASES[case]
    assert word in bare_error(server.post(path, body), 400)


@pytest.mark.parametrize("verb", ["classify", "regress"])
@pytest.mark.parametrize("path", ["nobody", "iris/versions/9", "iris/labels/nobody"])
def test_what_is_not_there(server, path, verb):
    bare_error(server.post(f"/v1/models/{path}:{verb}", {"examples": [{"x": 1}]}), 404)


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_another_method(server, verb):
    answer = server.get(f"{FLOWERS}:{verb}")
    bare_error(answer, 405)
    assert answer.headers["allow"] == "POST"
