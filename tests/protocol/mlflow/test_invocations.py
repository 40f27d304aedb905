"""MLflow's scoring protocol over HTTP, as `requests`, pandas and SageMaker's callers send it."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from tests import zoo
from tests.answers import check_sentence

FLOWERS = [zoo.FLOWER, [6.3, 3.3, 6.0, 2.5]]
LABELS = [0, 2]
FRAME = pd.DataFrame(FLOWERS, columns=["sepal length", "sepal width", "length", "width"])
IRIS = {"X-Model": "iris"}


def refusal(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error_code", "message"}
    return check_sentence(answer.json()["message"])


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": FRAME.to_dict(orient="split")},
        {"dataframe_records": FRAME.to_dict(orient="records")},
        {"instances": FLOWERS},
        {"inputs": FLOWERS, "params": {"max_tokens": 3}},
        {"inputs": {"x": FLOWERS}},
    ],
    ids=lambda body: next(iter(body)),
)
def test_every_form(server, body):
    answer = server.post("/invocations", body, headers=IRIS)
    assert answer.json() == {"predictions": LABELS}
    assert answer.headers["maas-model"] == "iris:1"


@pytest.mark.parametrize("header", [True, False])
def test_csv_with_and_without_a_header(server, header):
    text = FRAME.to_csv(index=False, header=header)
    answer = server.post("/invocations", text, headers={**IRIS, "content-type": "text/csv"})
    assert answer.json() == {"predictions": LABELS}


def test_csv_of_an_unnamed_frame(server):
    text = pd.DataFrame(FLOWERS).to_csv(index=False)
    assert text.startswith("0,1,2,3\n")
    answer = server.post("/invocations", text, headers={**IRIS, "content-type": "text/csv"})
    assert answer.json() == {"predictions": LABELS}


def test_npy_both_ways(server):
    file = io.BytesIO()
    np.save(file, np.array(FLOWERS))
    headers = {**IRIS, "content-type": "application/x-npy", "accept": "application/x-npy"}
    answer = server.post("/invocations", file.getvalue(), headers=headers)
    assert np.load(io.BytesIO(answer.content)).tolist() == LABELS


def test_several_inputs_and_outputs(server):
    body = {"dataframe_records": [{"a": [1, 2], "b": [3, 4]}, {"b": [1, 1], "a": [5, 6]}]}
    answer = server.post("/invocations?model=pair", body)
    assert answer.json() == {
        "predictions": [
            {"sum": [4.0, 6.0], "product": [3.0, 8.0]},
            {"sum": [6.0, 7.0], "product": [5.0, 6.0]},
        ]
    }


def test_texts_and_names_of_classes(server):
    answer = server.post("/invocations?model=words", {"inputs": [zoo.TEXT]})
    assert answer.json() == {"predictions": ["体育"]}
    answer = server.post(
        "/invocations?model=words",
        pd.DataFrame({"text": [zoo.TEXT]}).to_csv(index=False).encode(),
        headers={"content-type": "text/csv; charset=utf-8"},
    )
    assert answer.json() == {"predictions": ["体育"]}
    answer = server.post("/invocations?model=flowers", {"inputs": FLOWERS})
    assert answer.json() == {"predictions": ["setosa", "virginica"]}


@pytest.mark.parametrize(
    ("name", "answered"),
    [("iris:2", "iris:2"), ("iris@prod", "iris:1"), ("/iris.tar.gz", "iris:1")],
)
def test_sagemakers_target_model(server, name, answered):
    headers = {"X-Amzn-SageMaker-Target-Model": name}
    answer = server.post("/invocations", {"instances": FLOWERS}, headers=headers)
    assert answer.headers["maas-model"] == answered


def test_without_a_model_the_candidates_are_named(server):
    message = refusal(server.post("/invocations", {"inputs": FLOWERS}), 400)
    assert "X-Model" in message
    assert "centroid" in message


def test_the_settings_name_a_default(guarded):
    headers = {"authorization": f"Bearer {guarded.key}"}
    answer = guarded.post("/invocations", {"inputs": FLOWERS}, headers=headers)
    assert answer.headers["maas-model"] == "iris:1"
    refusal(guarded.post("/invocations", {"inputs": FLOWERS}), 401)


@pytest.mark.parametrize(
    "body",
    [
        FLOWERS,
        {},
        {"instances": FLOWERS, "inputs": FLOWERS},
        {"inputs": [[1, 2]]},
        {"inputs": [["a", "b", "c", "d"]]},
        {"inputs": FLOWERS, "params": [1]},
        {"dataframe_split": {"columns": ["a"], "data": [[1]]}},
        {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}},
        {"dataframe_records": [1]},
    ],
)
def test_what_is_wrong_is_400(server, body):
    refusal(server.post("/invocations", body, headers=IRIS), 400)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/json; charset=latin-1",
        "text/csv; charset=gb18030",
        "application/json; format=pandas-split",
        "application/vnd.apache.parquet",
    ],
)
def test_other_content_types_are_415(server, content_type):
    body = json.dumps({"inputs": FLOWERS})
    refusal(server.post("/invocations", body, headers={**IRIS, "content-type": content_type}), 415)


def test_an_unknown_model_is_404(server):
    answer = server.post("/invocations", {"inputs": FLOWERS}, headers={"X-Model": "nobody"})
    assert "nobody" in refusal(answer, 404)


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_health(guarded, path):
    answer = guarded.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "Healthy"})


def test_version(server):
    from maas import __version__

    assert server.get("/version").text == __version__
