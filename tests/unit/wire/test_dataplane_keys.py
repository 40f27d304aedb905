"""The data plane over bare ASGI: who may ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from maas_test_plane import (
    DIALECTS,
    KEY,
    PLAIN,
    POSTS,
    Got,
    Server,
    message_of,
)

GUARDED = [
    *[("POST", path, dialect) for (path, _), dialect in zip(POSTS, DIALECTS, strict=True)],
    ("POST", "/predict", "plain"),
    ("POST", "/classify", "plain"),
    ("POST", "/iris/classify", "plain"),
    ("GET", "/v2", "oip"),
    ("POST", "/v2/models/iris/generate", "oip"),
    ("POST", "/v2/models/iris/versions/1/generate_stream", "oip"),
    ("GET", "/v2/models/iris", "oip"),
    ("GET", "/v2/models/nobody", "oip"),
    ("GET", "/v2/models/iris/ready", "oip"),
    ("GET", "/v2/models/iris/versions/1", "oip"),
    ("POST", "/v2/models/iris/versions/1/infer", "oip"),
    ("GET", "/v1/models/iris", "tfserving"),
    ("GET", "/v1/models/nobody", "tfserving"),
    ("GET", "/v1/models/iris/versions/1", "tfserving"),
    ("GET", "/v1/models/iris/labels/prod", "tfserving"),
    ("GET", "/v1/models/iris/metadata", "tfserving"),
    ("POST", "/v1/models/iris/versions/1:predict", "tfserving"),
]


@pytest.mark.parametrize(("method", "path", "dialect"), GUARDED)
async def test_no_route_but_the_probes_answers_without_a_key(
    locked: Server, method: str, path: str, dialect: str
) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x_api_key": KEY[:-1]}):
        got = await locked.ask(method, path, PLAIN, **headers)
        assert got.status == 401
        assert got.headers["www-authenticate"] == "Bearer"
        assert "key" in message_of(got, dialect)
    assert locked.engine.calls == []


@pytest.mark.parametrize(
    "path", ["/", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"]
)
async def test_probes_answer_without_a_key(locked: Server, path: str) -> None:
    assert (await locked.ask("GET", path)).status == 200


async def test_a_key_opens_the_door(locked: Server) -> None:
    for headers in ({"authorization": f"Bearer {KEY}"}, {"x_api_key": KEY}, {"api_key": KEY}):
        got = await locked.ask("POST", "/iris/predict", PLAIN, **headers)
        assert got.status == 200
    assert {call.context.principal.name for call in locked.engine.calls} == {"ann"}


async def test_a_body_is_not_read_before_the_key_is(locked: Server) -> None:
    asked = 0

    async def receive() -> Mapping[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    sent: list[Mapping[str, Any]] = []

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    scope = {"method": "POST", "raw_path": b"/iris/predict", "headers": []}
    await locked.plane(scope, receive, send)
    assert (Got(sent).status, asked) == (401, 0)
