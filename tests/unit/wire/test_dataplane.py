"""The data plane over bare ASGI: what is asked is answered."""

from __future__ import annotations

import asyncio
import gzip
import json
import time

import msgspec
import numpy as np
import pytest
from maas_test_plane import (
    DIALECTS,
    GETS,
    IRIS,
    OIP,
    PLAIN,
    PLAN,
    POSTS,
    ROWS,
    Server,
    version,
)

from maas.core.messages import VersionStatus
from maas.serving.plan import ModelPlan


async def test_every_dialect_asks_the_same_and_answers_in_its_own_shape(server: Server) -> None:
    plain, oip, rows = [await server.ask("POST", path, body) for path, body in POSTS]
    assert plain.json == {"prediction": [[2, 4], [6, 8]]}
    assert oip.json["outputs"][0]["data"] == [2, 4, 6, 8]
    assert (oip.json["model_name"], oip.json["model_version"]) == ("iris", "3")
    assert rows.json == {"predictions": [[2, 4], [6, 8]]}
    for got in (plain, oip, rows):
        assert got.status == 200
        assert got.headers["maas-model"] == "iris:3"
        assert got.headers["content-length"] == str(len(got.body))
    for call, dialect in zip(server.engine.calls, DIALECTS, strict=True):
        assert call.inputs["x"].tolist() == [[1, 2], [3, 4]]
        assert (call.rows, call.signature, call.context.dialect) == (2, IRIS, dialect)


async def test_an_error_of_the_front_holds_on_to_no_answer(server: Server) -> None:
    """Envoy's front raises one and the same object for every client that goes away."""
    gone = OSError("gone")

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": json.dumps(PLAIN).encode(), "more_body": False}

    async def send(message: object) -> None:
        raise gone

    scope = {"type": "http", "method": "POST", "raw_path": b"/iris/predict", "query_string": b"",
             "headers": []}  # fmt: skip
    await server.plane(scope, receive, send)
    assert len(server.engine.calls) == 1
    assert gone.__traceback__ is None


async def test_a_version_or_alias_is_reached_by_name(server: Server) -> None:
    for path, body in (
        ("/iris:1/predict", PLAIN),
        ("/iris@prod/predict", PLAIN),
        ("/v2/models/iris/versions/1/infer", OIP),
        ("/v1/models/iris/versions/1:predict", ROWS),
        ("/v1/models/iris/labels/prod:predict", ROWS),
    ):
        assert (await server.ask("POST", path, body)).headers["maas-model"] == "iris:1"


async def test_names_in_any_script_are_called(server: Server) -> None:
    got = await server.ask("POST", "/%E6%A8%A1%E5%9E%8B/predict", {"text": "abc"})
    assert got.json == {"prediction": "ABC"}
    assert got.headers["maas-model"] == "%E6%A8%A1%E5%9E%8B:1"


async def test_a_call_without_a_model_finds_the_only_one_of_its_kind(server: Server) -> None:
    assert (await server.ask("POST", "/predict", {"text": "abc"})).json == {"prediction": "ABC"}
    assert (await server.ask("POST", "/predict", PLAIN)).headers["maas-model"] == "iris:3"
    named = await server.ask("POST", "/predict", {"model": "iris@prod", **PLAIN})
    assert named.headers["maas-model"] == "iris:1"


async def test_a_call_that_could_mean_several_names_them(server: Server) -> None:
    other = ModelPlan({1: version(IRIS)}, 1, {})
    await server.router.follow(msgspec.structs.replace(PLAN, models={**PLAN.models, "b": other}))
    got = await server.ask("POST", "/predict", PLAIN)
    assert got.status == 400
    assert "b, iris" in got.json["error"]["message"]


async def test_the_deadline_is_the_servers_or_the_callers_own(server: Server) -> None:
    before = time.monotonic()
    await server.ask("POST", "/v2/models/iris/infer", OIP)
    await server.ask("POST", "/v2/models/iris/infer", {**OIP, "parameters": {"timeout": 2_000_000}})
    await server.ask("POST", "/v2/models/iris/infer", {**OIP, "parameters": {"timeout": 10**12}})
    left = [call.context.deadline - before for call in server.engine.calls]
    assert 60 <= left[0] < 70
    assert 2 <= left[1] < 12
    assert 60 <= left[2] < 70


@pytest.mark.parametrize("path", GETS)
async def test_what_is_asked_is_answered(server: Server, path: str) -> None:
    got = await server.ask("GET", path)
    assert got.status == 200
    assert GETS[path] in got.json


@pytest.mark.parametrize("path", GETS)
async def test_head_is_get_without_its_body(server: Server, path: str) -> None:
    get, head = await server.ask("GET", path), await server.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    # RFC 9110, 8.6: a length in the answer to HEAD is the one that GET would have.
    assert (
        head.headers.get("content-length", get.headers["content-length"])
        == get.headers["content-length"]
    )


async def test_status_lists_every_version_or_the_one_named(server: Server) -> None:
    everything = (await server.ask("GET", "/v1/models/iris")).json["model_version_status"]
    assert [one["version"] for one in everything] == ["3", "1"]
    alias = (await server.ask("GET", "/v1/models/iris/labels/prod")).json["model_version_status"]
    assert [one["version"] for one in alias] == ["1"]


async def test_a_version_that_is_not_loaded_is_not_ready(server: Server) -> None:
    got = await server.ask("GET", "/v2/models/iris/ready")
    assert (got.status, got.json["ready"]) == (503, False)


@pytest.mark.parametrize("path", ["/readyz", "/healthz", "/v2/health/ready"])
async def test_without_an_acknowledged_plan_the_server_is_not_ready(
    server: Server, path: str
) -> None:
    server.ready = False
    got = await server.ask("GET", path)
    assert (got.status, got.json) == (503, {"ready": False})
    assert (await server.ask("GET", "/livez")).status == 200


async def test_a_request_id_is_the_callers_or_a_new_one(server: Server) -> None:
    given_back = await server.ask("GET", "/livez", x_request_id="mine-1")
    assert given_back.headers["x-request-id"] == "mine-1"
    made = {(await server.ask("GET", "/livez")).headers["x-request-id"] for _ in range(20)}
    assert len(made) == 20
    evil = await server.ask("GET", "/livez", x_request_id=b"a\r\nset-cookie: b")
    assert "\r" not in evil.headers["x-request-id"]
    await server.ask("POST", "/iris/predict", PLAIN, x_request_id="mine-2")
    assert server.engine.calls[0].context.request_id == "mine-2"


@pytest.mark.parametrize("encoding", ["gzip", "identity", ""])
async def test_a_compressed_body_is_read(server: Server, encoding: str) -> None:
    body = json.dumps(PLAIN).encode()
    sent = gzip.compress(body) if encoding == "gzip" else body
    got = await server.ask("POST", "/iris/predict", sent, content_encoding=encoding)
    assert got.json == {"prediction": [[2, 4], [6, 8]]}


async def test_a_large_body_and_a_large_answer_are_right_too(server: Server) -> None:
    array = np.random.default_rng(1).random((20_000, 2), np.float32)
    small = [asyncio.create_task(server.ask("POST", "/iris/predict", PLAIN)) for _ in range(3)]
    rows = array.tolist()
    bodies = [
        {"input_data": rows},
        {"inputs": [{"name": "x", "shape": [20_000, 2], "datatype": "FP32", "data": rows}]},
        {"instances": rows},
    ]
    for (path, _), body, key in zip(POSTS, bodies, ("prediction", "", "predictions"), strict=True):
        got = await server.ask("POST", path, body, parts=7)
        found = got.json[key] if key else got.json["outputs"][0]["data"]
        np.testing.assert_array_equal(np.array(found, np.float32).reshape(-1, 2), 2 * array)
    assert {(await one).status for one in small} == {200}


async def test_requests_are_counted_by_route_and_status(server: Server) -> None:
    for path, body in POSTS:
        await server.ask("POST", path, body)
        await server.ask("POST", path, b"{")
    await server.ask("GET", "/livez")
    await server.ask("GET", "/nothing")
    await server.ask("GET", "/%2e%2e/predict")
    await server.ask("PUT", "/livez")
    assert server.requests() == {
        ("plain", "predict", "200"): 1, ("plain", "predict", "400"): 1,
        ("oip", "predict", "200"): 1, ("oip", "predict", "400"): 1,
        ("tfserving", "predict", "200"): 1, ("tfserving", "predict", "400"): 1,
        ("plain", "live", "200"): 1, ("plain", "live", "405"): 1,
        ("none", "none", "404"): 1, ("none", "none", "400"): 1,
    }  # fmt: skip


async def test_many_paths_are_not_remembered_for_ever(server: Server) -> None:
    for number in range(5000):
        await server.ask("GET", f"/v2/models/m{number}")
    assert len(server.plane._endpoints) <= 4096
    assert set(server.requests()) == {("oip", "model_metadata", "404")}


async def test_statuses_come_from_the_plan_alone(server: Server) -> None:
    statuses = server.router.statuses("idle")
    assert [type(one) for one in statuses] == [VersionStatus]
    got = await server.ask("GET", "/v1/models/idle")
    assert got.json["model_version_status"][0]["state"] == "LOADING"
