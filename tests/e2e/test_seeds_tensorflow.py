"""The calls of the documents on what TensorFlow saved: `model.h5`, and a network of image size.

The examples make both, each in a process of its own; here everything goes over HTTP.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from tests.server import Server, serving

pytestmark = pytest.mark.xdist_group("tensorflow")

EXAMPLES = Path(__file__).parents[2] / "examples"
ROW = [5.1, 3.5, 1.4, 0.2]
COLOURS = 4

SAVE = """
import json, sys
import numpy as np
from sklearn.datasets import load_iris
import keras_classifier

data = load_iris()
model = keras_classifier.train(data.data, data.target)
model.save("model.h5")
rows = data.data[::10].astype(np.float32)
answers = model.predict(rows, verbose=0)
json.dump({"rows": rows.tolist(), "answers": answers.tolist()}, open("answers.json", "w"))
"""

DRAW = """
import json
import numpy as np
import image

model = image.network()
best = [int(np.argmax(model(np.load("images.npy")[i : i + 1]))) for i in range(4)]
json.dump(best, open("best.json", "w"))
"""


def run(program: str, folder: Path, *arguments: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, *(["-c", program] if "\n" in program else [program]), *arguments],
        env={"PYTHONPATH": str(EXAMPLES), "TF_CPP_MIN_LOG_LEVEL": "3", **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# `model.h5` behind /predict


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model.h5`, and what Keras itself answers."""
    folder = tmp_path_factory.mktemp("h5")
    run(SAVE, folder)
    return folder


@pytest.fixture(scope="module")
def clf(saved: Path) -> Iterator[Server]:
    """One command from the file to the endpoint."""
    command = (str(saved / "model.h5"), "--name", "clf", "--trust")
    with serving(saved / "home", "auto", *command) as server:
        yield server


def test_the_call_of_the_flask_service(clf: Server, saved: Path) -> None:
    known = json.loads((saved / "answers.json").read_text())
    response = requests.post(f"{clf.url}/predict", json={"input_data": known["rows"]}, timeout=60)
    assert response.status_code == 200
    assert list(response.json()) == ["prediction"]
    np.testing.assert_allclose(response.json()["prediction"], known["answers"], atol=1e-5)
    assert response.headers["maas-model"] == "clf:1"


def test_one_row(clf: Server) -> None:
    [batched] = clf.post("/predict", {"input_data": [ROW]}).json()["prediction"]
    assert np.argmax(batched) == 0
    assert clf.post("/predict", {"input_data": ROW}).json()["prediction"] == batched


def test_keras_is_not_needed_to_serve_it(clf: Server) -> None:
    [version] = clf.api("GET", "/models/clf").json()["versions"]
    report = version["report"]
    assert report["format"] == "keras-h5"
    assert report["trusted"]
    assert report["lowered"]
    assert report["engine"] in ("onnx", "openvino")
    assert report["parity"]["agrees"]
    assert report["parity"]["samples"] >= 256
    assert report["parity"]["distinct_answers"] >= 100
    assert report["sandbox"]
    holder = clf.host_of("clf", 1)["pid"]
    assert "tensorflow" not in Path(f"/proc/{holder}/maps").read_text()


def test_without_trust_it_is_refused_and_the_flag_is_named(clf: Server, saved: Path) -> None:
    refused = clf.cli("publish", str(saved / "model.h5"), "--name", "other")
    assert refused.code == 1
    assert "--trust" in refused.err
    assert [model["name"] for model in clf.models()] == ["clf"]


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": [[1, 2, 3]]},
        {"input_data": "5.1"},
        {"input_data": [["a", "b", "c", "d"]]},
        {"input_data": []},
        {"data": [ROW]},
        [ROW],
    ],
    ids=["too_few", "text", "texts", "no_rows", "misspelt", "array"],
)
def test_bad_bodies_for_the_flask_service(clf: Server, body: Any) -> None:
    answer = clf.post("/predict", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


# A SavedModel of images behind /my_model/predict


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Images of different colours, half of each dark, float32 [4, 299, 299, 3]."""
    made = np.zeros((COLOURS, 299, 299, 3), np.float32)
    for number in range(COLOURS):
        made[number, :, : 50 + 60 * number, number % 3] = 1
    return made


@pytest.fixture(scope="module")
def my_model(
    tmp_path_factory: pytest.TempPathFactory, images: np.ndarray
) -> Iterator[tuple[Server, list[int]]]:
    """A server with the example's network, and the class that Keras itself says for each image."""
    folder = tmp_path_factory.mktemp("image")
    np.save(folder / "images.npy", images)
    run(DRAW, folder)
    with serving(folder / "home", "auto") as server:
        said = run(str(EXAMPLES / "image.py"), folder, **server.client_env)
        assert "published my_model:1" in said
        yield server, json.loads((folder / "best.json").read_text())


def test_the_call_of_the_image_service(
    my_model: tuple[Server, list[int]], images: np.ndarray
) -> None:
    server, best = my_model
    url = f"{server.url}/my_model/predict"
    headers = {"Content-Type": "application/json"}
    predicted = []
    for image in images:
        data = {"images": [image.tolist()]}
        response = requests.post(url, headers=headers, json=data, timeout=60)
        response_data = response.json()
        scores = np.array(response_data["scores"])
        assert scores.shape == (1, 1000)
        predicted.append(int(np.argmax(scores)))
    assert predicted == best
    assert len(set(predicted)) > 1


def test_the_list_of_the_document_is_refused_clearly(my_model: tuple[Server, list[int]]) -> None:
    server, _ = my_model
    url = f"{server.url}/my_model/predict"
    headers = {"Content-Type": "application/json"}
    data = {"images": [[1, 299, 299, 3, 0.5]]}
    response = requests.post(url, headers=headers, json=data, timeout=60)
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert "[1, 5]" in message
    assert "[1, 299, 299, 3]" in message


def test_the_network_is_lowered(my_model: tuple[Server, list[int]]) -> None:
    server, _ = my_model
    [version] = server.api("GET", "/models/my_model").json()["versions"]
    report = version["report"]
    assert report["format"] == "savedmodel"
    assert report["lowered"]
    assert report["parity"]["agrees"]
    assert report["parity"]["samples"] >= 256
    assert not report["trusted"]
    [signature] = version["signatures"].values()
    [tensor] = signature["inputs"]
    assert (tensor["name"], tensor["shape"]) == ("images", [1, 299, 299, 3])


@pytest.mark.slow
def test_every_example(tmp_path: Path) -> None:
    """What `scripts/serve --all-examples` runs once it is up; run again, it does nothing."""
    every = EXAMPLES / "all.py"
    then = f"'{sys.executable}' '{every}' --all"
    with serving(tmp_path / "home", "auto", "--then", then) as server:
        assert "assistant, clf, digits, iris, my_model, topics" in server.banner
        assert run(str(every), tmp_path, "--all", **server.client_env) == ""
