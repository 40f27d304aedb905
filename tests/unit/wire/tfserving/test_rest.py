"""TensorFlow Serving's REST calls through the data plane."""

from __future__ import annotations

import pytest
from maas_test_plane import Server, message_of

SENT = {"examples": [{"x": [1, 2]}, {"x": [3, 4]}]}


async def test_classify(server: Server) -> None:
    got = await server.ask("POST", "/v1/models/iris:classify", SENT)
    assert got.status == 200
    assert got.body == b'{"results":[[["",2.0],["",4.0]],[["",6.0],["",8.0]]]}'
    assert got.headers["maas-model"] == "iris:3"
    assert server.engine.calls[0].outputs == ("y",)
    assert server.engine.calls[0].rows == 2
    assert server.requests() == {("tfserving", "classify", "200"): 1}


async def test_labels(server: Server) -> None:
    sent = {"examples": [{"text": "a"}], "context": {"other": 1}}
    got = await server.ask("POST", "/v1/models/模型/versions/1:classify".encode(), sent)
    assert got.json == {"results": [[["A", 0.0]]]}
    got = await server.ask("POST", "/v1/models/iris/labels/prod:classify", SENT)
    assert got.headers["maas-model"] == "iris:1"


async def test_a_large_body(server: Server) -> None:
    rows = [{"x": [index, 0.5]} for index in range(9000)]
    got = await server.ask("POST", "/v1/models/iris:classify", {"examples": rows}, parts=3)
    assert len(got.json["results"]) == 9000
    assert got.json["results"][-1] == [["", 17998.0], ["", 1.0]]


async def test_a_model_that_cannot(server: Server) -> None:
    got = await server.ask("POST", "/v1/models/iris:regress", SENT)
    assert got.status == 400
    assert "cannot regress" in message_of(got, "tfserving")


@pytest.mark.parametrize("verb", ["classify", "regress"])
async def test_refusals(server: Server, verb: str) -> None:
    got = await server.ask("GET", f"/v1/models/iris:{verb}")
    assert (got.status, got.headers["allow"]) == (405, "POST")
    got = await server.ask("POST", f"/v1/models/nobody:{verb}", SENT)
    assert got.status == 404
    got = await server.ask("POST", f"/v1/models/idle:{verb}", SENT)
    assert got.status == 503
    got = await server.ask("POST", f"/v1/models/iris/labels/nobody:{verb}", SENT)
    assert got.status == 404


async def test_a_key_is_needed(locked: Server) -> None:
    got = await locked.ask("POST", "/v1/models/iris:classify", SENT)
    assert got.status == 401
