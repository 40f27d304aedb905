"""Which model `/predict` and `/classify` go to when the path names none."""

from __future__ import annotations

import pytest
from tests import zoo
from tests.answers import plain_error


def test_the_text_call_goes_to_the_only_model_of_texts(server):
    answer = server.post("/classify", {"text": zoo.TEXT})
    assert answer.json()["prediction"] == "体育"
    assert answer.headers["maas-model"] == "words:1"
    assert "体育".encode() in answer.content


def test_several_texts_give_several_predictions(server):
    answer = server.post("/classify", {"text": [zoo.TEXT, "新手机的芯片"]})
    assert answer.json()["prediction"] == ["体育", "科技"]


def test_predict_of_a_text_goes_there_too(server):
    answer = server.post("/predict", {"input_text": zoo.TEXT})
    assert answer.headers["maas-model"] == "words:1"


@pytest.mark.parametrize("path", ["/predict", "/classify"])
def test_several_candidates_are_named(server, path):
    message = plain_error(server.post(path, {"input_data": [zoo.FLOWER]}), 400)
    for name in ("iris", "flowers", "centroid", "counts"):
        assert name in message
    assert "words" not in message


@pytest.mark.parametrize(
    ("model", "label"), [("iris", 0), ("iris:2", 2), ("iris@next", 2), ("iris@prod", 0)]
)
def test_the_body_names_the_model(server, model, label):
    answer = server.post("/predict", {"model": model, "input_data": [zoo.FLOWER]})
    assert answer.json()["label"] == [label]


def test_the_body_names_a_model_that_is_not_there(server):
    answer = server.post("/predict", {"model": "nobody", "input_data": [zoo.FLOWER]})
    assert "nobody" in plain_error(answer, 404)


def test_the_body_names_what_cannot_be_a_model(server):
    answer = server.post("/predict", {"model": "../iris", "input_data": [zoo.FLOWER]})
    plain_error(answer, 400)


@pytest.mark.parametrize(
    ("name", "prediction"), [("iris", [0]), ("flowers", ["setosa"]), ("centroid", [0])]
)
def test_classify_always_has_a_prediction(server, name, prediction):
    for answer in (
        server.post("/classify", {"model": name, "input_data": [zoo.FLOWER]}),
        server.post(f"/{name}/classify", {"input_data": [zoo.FLOWER]}),
    ):
        assert answer.json()["prediction"] == prediction


def test_classify_of_scores_takes_the_highest(server):
    image = [[[[0, 0.5, 0]] * 299] * 299]
    assert server.post("/my_model/classify", {"images": image}).json()["prediction"] == [456]


def test_classify_of_what_is_no_classifier(server):
    answer = server.post("/pair/classify", {"a": [[1, 2]], "b": [[3, 4]]})
    assert "no classifier" in plain_error(answer, 400)


def test_the_settings_name_defaults(guarded):
    headers = {"authorization": f"Bearer {guarded.key}"}
    answer = guarded.post("/predict", {"input_data": [zoo.FLOWER]}, headers=headers)
    assert answer.headers["maas-model"] == "iris:1"
    answer = guarded.post("/classify", {"input_data": [zoo.FLOWER]}, headers=headers)
    assert answer.json()["prediction"] == ["setosa"]
    body = {"model": "iris@next", "input_data": [zoo.FLOWER]}
    answer = guarded.post("/predict", body, headers=headers)
    assert answer.headers["maas-model"] == "iris:2"
