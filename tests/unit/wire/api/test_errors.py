from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/nope", 404, "not_found"),
        ("GET", "/docs/nope", 404, "not_found"),
        ("GET", "/docs/nope.json", 404, "not_found"),
        ("PATCH", "/api/models", 405, "method_not_allowed"),
        ("POST", "/docs", 405, "method_not_allowed"),
        ("GET", "/api/models?limit=x", 400, "invalid_argument"),
        ("GET", "/api/models?limit=0", 400, "invalid_argument"),
        ("GET", "/api/models?limit=99999999999999999999", 400, "invalid_argument"),
        ("GET", "/api/models?cursor=%2e%2e", 400, "invalid_argument"),
        ("GET", "/api/logs?lines=-1", 400, "invalid_argument"),
        ("GET", "/api/logs?follow=maybe", 400, "invalid_argument"),
        ("GET", "/api/models/iris", 404, "not_found"),
        ("GET", "/api/models/iris/versions/1", 404, "not_found"),
        ("GET", "/api/models/iris/versions/-1", 400, "invalid_argument"),
        ("GET", "/api/models/iris/versions/1.0", 400, "invalid_argument"),
        ("GET", "/api/models/iris/versions/%EF%BC%91", 400, "invalid_argument"),
        ("GET", "/api/models/iris/versions/99999999999999999999", 400, "invalid_argument"),
        ("GET", "/api/operations/nope", 404, "not_found"),
        ("GET", "/api/operations/nope/events", 404, "not_found"),
        ("GET", "/api/tenants", 501, "unimplemented"),
        ("GET", "/api/usage", 501, "unimplemented"),
        ("GET", "/api/costs", 501, "unimplemented"),
        ("GET", "/api/efficiency", 501, "unimplemented"),
        ("GET", "/api/audit", 501, "unimplemented"),
        ("POST", "/api/events", 501, "unimplemented"),
    ],
)
async def test_every_error_has_one_shape(
    owner: httpx.AsyncClient, method: str, path: str, status: int, kind: str
) -> None:
    answer = await owner.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json().values()
    assert set(error) == {"kind", "message", "request_id"}
    assert error["kind"] == kind
    assert error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


async def test_a_wrong_method_says_which_are_right(owner: httpx.AsyncClient) -> None:
    answer = await owner.patch("/api/keys")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST", "OPTIONS"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"x"', 400),
        (b"\xff\xfe", 400),
        (b"{}", 400),
        (b'{"name": 3}', 400),
        (b'{"name": ""}', 400),
        (b'{"name": "a", "role": "king"}', 400),
        (b'{"name": "\\ud800"}', 400),
        (b"[" * 300_000, 400),
        (b'{"name": ' * 100_000, 400),
        (b'{"name": "' + b"x" * 2_000_000 + b'"}', 413),
    ],
)
async def test_bodies_that_are_refused(owner: httpx.AsyncClient, body: bytes, status: int) -> None:
    answer = await owner.post("/api/keys", content=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert (await owner.get("/api/keys")).json() == {"keys": []}


async def test_a_missing_body_is_said_to_be_missing(owner: httpx.AsyncClient) -> None:
    answer = await owner.put("/api/models/iris/aliases/prod")
    assert answer.json()["error"]["message"] == "the request's body is missing"
