"""KServe's V1 protocol: the list, readiness; its predict is TensorFlow Serving's."""

from __future__ import annotations

from tests import zoo


def test_the_list(server):
    body = server.get("/v1/models").json()
    assert {"iris", "words", "花"} <= set(body["models"])
    assert (body["object"], body["data"]) == ("list", [])


def test_a_model_is_ready(server):
    body = server.get("/v1/models/iris").json()
    assert (body["name"], body["ready"]) == ("iris", True)
    assert body["model_version_status"][0]["state"] == "AVAILABLE"
    assert server.get("/v1/models/nobody").status_code == 404


def test_predict(server):
    answer = server.post("/v1/models/counts:predict", {"instances": [[1, 2, 3]]})
    assert answer.json() == {"predictions": [[6]]}
    assert len(server.post("/v1/models/iris:predict", {"instances": [zoo.FLOWER]}).json()) == 1


def test_explanations_are_to_come(server):
    answer = server.post("/v1/models/iris:explain", {"instances": [zoo.FLOWER]})
    assert answer.status_code == 501
    assert ":explain" in answer.json()["error"]
