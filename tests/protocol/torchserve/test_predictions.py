"""TorchServe's inference API over HTTP, with `requests` and curl."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from tests import zoo
from tests.answers import check_sentence

FLOWERS = [zoo.FLOWER, [6.3, 3.3, 6.0, 2.5]]
RAW = np.array(FLOWERS, "<f4").tobytes()


def refusal(answer, status: int, kind: str) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"code", "type", "message"}
    assert answer.json()["code"] == status
    assert answer.json()["type"] == kind
    return check_sentence(answer.json()["message"])


def files(server, path: str, **parts) -> object:
    answer = server.http.post(server.url + path, files=parts, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("body", [FLOWERS, {"x": FLOWERS}, [{"x": row} for row in FLOWERS]])
def test_json(server, body):
    answer = server.post("/predictions/iris", body)
    assert answer.json()["label"] == [0, 2]
    assert np.array(answer.json()["probabilities"]).shape == (2, 3)


def test_one_output_is_its_value(server):
    assert server.post("/predictions/counts", [[1, 2, 3]]).json() == [[6]]
    assert server.post("/predictions/counts", [1, 2, 3]).json() == [6]


@pytest.mark.parametrize(("version", "label"), [("1", 0), ("2", 2), ("2.0", 2)])
def test_versions(server, version, label):
    answer = server.post(f"/predictions/iris/{version}", [zoo.FLOWER])
    assert answer.json()["label"] == [label]
    assert answer.headers["maas-model"] == f"iris:{version[0]}"


def test_raw_bytes(server):
    headers = {"content-type": "application/octet-stream"}
    assert server.post("/predictions/iris", RAW, headers=headers).json()["label"] == [0, 2]
    assert server.post("/predictions/iris", RAW).json()["label"] == [0, 2]
    assert server.post("/predictions/words", zoo.TEXT.encode()).json()["label"] == "体育"


def test_parts(server):
    named = json.dumps(FLOWERS).encode()
    assert files(server, "/predictions/iris", x=("x.json", named, "application/json"))["label"] == [
        0,
        2,
    ]
    assert files(server, "/predictions/iris", data=("x.bin", RAW))["label"] == [0, 2]
    assert files(server, "/predictions/words", data=("a.txt", zoo.TEXT.encode()))["label"] == "体育"
    two = {"a": (None, "[[1, 2]]"), "b": (None, "[[3, 4]]")}
    assert files(server, "/predictions/pair", **two) == {
        "sum": [[4.0, 6.0]],
        "product": [[3.0, 8.0]],
    }


def test_curl_uploads_with_put(server, tmp_path):
    file = tmp_path / "flowers.bin"
    file.write_bytes(RAW)
    url = f"{server.url}/predictions/iris"
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", url, "-T", str(file)], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["label"] == [0, 2]


def test_pictures_are_not_decoded(server):
    message = refusal(
        server.post(
            "/predictions/iris", b"\xff\xd8\xff\xe0", headers={"content-type": "image/jpeg"}
        ),
        415,
        "BadRequestException",
    )
    assert "application/x-npy" in message


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"[[1, 2", "application/json"),
        (b"[[1, 2]]", "application/json"),
        (b"x" * 15, "application/octet-stream"),
        (b"--b--", "multipart/form-data; boundary=b"),
        (b"--b", "multipart/form-data"),
    ],
)
def test_what_is_wrong_is_400(server, body, content_type):
    answer = server.post("/predictions/iris", body, headers={"content-type": content_type})
    refusal(answer, 400, "BadRequestException")


def test_what_is_not_there_is_404(server):
    for path in ("/predictions/nobody", "/predictions/iris/9"):
        refusal(server.post(path, [[1]]), 404, "ModelNotFoundException")
    refusal(server.get("/models/nobody"), 404, "ModelNotFoundException")


def test_models_in_pages(server):
    everything = [one["modelName"] for one in server.get("/models").json()["models"]]
    assert {"iris", "words", "花"} <= set(everything)
    found, token = [], "0"
    while token:
        page = server.get(f"/models?limit=4&next_page_token={token}").json()
        assert len(page["models"]) <= 4
        found += [one["modelName"] for one in page["models"]]
        token = page.get("nextPageToken")
    assert found == everything
    refusal(server.get("/models?limit=x"), 400, "BadRequestException")


def test_a_model(server):
    second, first = server.get("/models/iris").json()
    assert (second["modelVersion"], first["modelVersion"]) == ("2", "1")
    assert first["workers"][0]["status"] == "READY"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/models?url=x.mar"), ("PUT", "/models/iris"), ("DELETE", "/models/iris")],
)
def test_models_are_managed_elsewhere(server, method, path):
    message = refusal(server.ask(method, path), 501, "NotImplementedException")
    assert "maas publish" in message


def test_another_method_is_405(server):
    refusal(server.ask("DELETE", "/predictions/iris"), 405, "MethodNotAllowedException")
