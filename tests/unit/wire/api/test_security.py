"""No route without its check: every route × method, without a key and with too small a role."""

from __future__ import annotations

import re

import httpx
import pytest
from litestar.routes import HTTPRoute

from maas.access import Action, allows
from maas.wire.api import ApiServices
from maas.wire.api.app import create_litestar
from maas.wire.api.security import ACTION

Clients = dict[str, httpx.AsyncClient]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def routes(services: ApiServices) -> list[tuple[str, str, Action]]:
    """Each path and method under `/api`, and what it needs."""
    found = []
    for route in create_litestar(services).routes:
        if isinstance(route, HTTPRoute) and route.path.startswith("/api"):
            path = re.sub(r"\{[^}]*\}", "1", route.path)
            for method, (handler, _) in route.route_handler_map.items():
                action = handler.opt.get(ACTION, Action.MANAGE_KEYS)
                found.append((path, method, action))
    return found


async def test_every_route_wants_a_key(services: ApiServices, clients: Clients) -> None:
    checked = routes(services)
    assert len(checked) > 40
    for path, method, _ in checked:
        answer = await clients[""].request(method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        answer = await clients[""].request(method, path, headers={"x-api-key": "maas_wrong"})
        assert answer.status_code == 401, (method, path)


@pytest.mark.parametrize("role", ["caller", "publisher", "operator"])
async def test_every_route_wants_its_role(
    services: ApiServices, clients: Clients, role: str
) -> None:
    refused = 0
    for path, method, action in routes(services):
        answer = await clients[role].request(method, path)
        if allows(role, action):
            assert answer.status_code != 403, (method, path)
        else:
            refused += 1
            assert answer.status_code == 403, (method, path)
    assert refused > (2 if role == "operator" else 5)


async def test_every_handler_says_what_it_does(services: ApiServices) -> None:
    for route in create_litestar(services).routes:
        if isinstance(route, HTTPRoute) and route.path.startswith("/api"):
            for method, (handler, _) in route.route_handler_map.items():
                assert ACTION in handler.opt or method == "OPTIONS", (method, route.path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/api/models/iris", "/api/keys", "/api/deployments/iris"])
async def test_no_method_slips_past_the_key(clients: Clients, method: str, path: str) -> None:
    assert (await clients[""].request(method, path)).status_code in (401, 405)


@pytest.mark.parametrize(
    "path",
    [
        "/API/keys",
        "/api/Keys",
        "/api/keys/",
        "//api/keys",
        "/api//keys",
        "/docs/../api/keys",
        "/docs/%2e%2e/api/keys",
        "/docs%2f..%2fapi%2fkeys",
        "/api/%6beys",
        "/api/keys;x=1",
        "/api/keys%00",
        "/api/keys%20",
        "/api\\keys",
    ],
)
async def test_spellings_of_a_path_do_not_pass(clients: Clients, path: str) -> None:
    answer = await clients[""].get(httpx.URL("http://localhost").copy_with(raw_path=path.encode()))
    assert answer.status_code in (400, 401, 404), path
    assert "keys" not in answer.json()


async def test_a_host_that_rewrites_the_path(clients: Clients) -> None:
    # CVE-2026-48710: what authorisation saw was built from Host and path together.
    for host in ("localhost/docs?", "localhost/docs#", "localhost/../docs", "localhost@docs"):
        answer = await clients[""].get("/api/keys", headers={"Host": host})
        assert answer.status_code == 400, host


@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "api-key"])
async def test_a_key_in_each_header(clients: Clients, header: str) -> None:
    value = "the-key-of-the-caller"
    headers = {header: f"Bearer {value}" if header == "Authorization" else value}
    assert (await clients[""].get("/api", headers=headers)).status_code == 200
    assert (await clients[""].get("/api", params={header: value})).status_code == 401


async def test_a_made_key_opens_what_its_role_may_and_a_revoked_one_nothing(
    owner: httpx.AsyncClient, clients: Clients
) -> None:
    answer = await owner.post("/api/keys", json={"name": "张三", "role": "publisher"})
    assert answer.status_code == 201
    record, key = answer.json()["record"], answer.json()["key"]
    headers = {"x-api-key": key}
    assert (await clients[""].get("/api/processes", headers=headers)).status_code == 200
    assert (await clients[""].get("/api/keys", headers=headers)).status_code == 403
    listed = (await owner.get("/api/keys")).json()
    assert listed == {"keys": [record]}
    assert key not in str(listed)
    answer = await owner.delete(f"/api/keys/{record['id']}")
    assert answer.status_code == 200
    assert answer.json()["revoked_at"]
    assert (await clients[""].get("/api/processes", headers=headers)).status_code == 401
    assert (await owner.delete("/api/keys/nope")).status_code == 404
