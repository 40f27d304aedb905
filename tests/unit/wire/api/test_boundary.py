from __future__ import annotations

import logging
from urllib.parse import unquote

import httpx
import pytest
from litestar import get
from litestar.types import ASGIApp

from maas.wire.api import ApiServices, create_api
from maas.wire.api.boundary import check_path
from maas.wire.api.origins import check_host

Clients = dict[str, httpx.AsyncClient]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST:8080",
        "127.0.0.1:8080",
        "127.8.9.10",
        "[::1]:8080",
        "maas.example",
        "Maas.Example:443",
    ],
)
async def test_names_of_this_server(owner: httpx.AsyncClient, host: str) -> None:
    assert (await owner.get("/api", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "127.evil.example",
        "localhost.evil.example",
        "localhost:8080:80",
        "0.0.0.0:8080",
        "[::]:8080",
        "169.254.169.254",
        "2130706433",
        "localhost:x",
        "user@localhost",
        "localhost, evil.example",
        "[::1",
        "local host",
        "l\u00f6calhost",
    ],
)
async def test_names_of_others(owner: httpx.AsyncClient, host: str) -> None:
    headers = [("Host", host.encode("latin-1"))]
    for path in ("/api", "/docs", "/nope"):
        answer = await owner.get(path, headers=headers)
        assert answer.status_code == 400, path
        assert answer.json()["error"]["kind"] == "invalid_argument"


async def test_one_host_header_exactly(app: ASGIApp) -> None:
    for count in (0, 2):
        status, _ = await raw(app, [(b"host", b"localhost")] * count)
        assert status == 400


async def raw(
    app: ASGIApp, headers: list[tuple[bytes, bytes]], path: bytes = b"/api"
) -> tuple[int, bytes]:
    """Calls the application with exactly these headers and this path."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


def test_any_host_where_that_is_allowed() -> None:
    assert check_host([b"whatever.example"], {"*"}) == "whatever.example"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("maas.example", "https://maas.example"),
        ("maas.example:443", "https://MAAS.example"),
        ("[::1]:8080", "http://[::1]:8080"),
    ],
)
async def test_a_page_of_this_server_may(owner: httpx.AsyncClient, host: str, origin: str) -> None:
    answer = await owner.get("/api", headers={"Host": host, "Origin": origin})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost:8081",
        "http://localhost",
        "http://127.0.0.1:8080",
        "http://localhost:8080.evil.example",
        "http://localhost:8080@evil.example",
        "file://",
        "chrome-extension://localhost:8080",
        "http://[::1",
        "localhost:8080",
    ],
)
async def test_a_page_of_others_may_not(owner: httpx.AsyncClient, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = await owner.request(method, "/api/keys", headers={"Origin": origin})
        assert answer.status_code == 403, method
        assert not any(name.startswith("access-control") for name in answer.headers)


async def test_every_answer_has_the_headers(owner: httpx.AsyncClient) -> None:
    for path in ("/api", "/nope", "/api/models/a%2fb", "/docs", "/api/logs"):
        headers = (await owner.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert len(headers.get_list("content-security-policy")) == 1
        assert headers["x-request-id"]


@pytest.mark.parametrize("given", ["abc-1", "00-4bf92f/3577:b34+da=", "x" * 128])
async def test_the_callers_request_id_comes_back(owner: httpx.AsyncClient, given: str) -> None:
    answer = await owner.get("/nope", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    assert answer.json()["error"]["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", '"><script>', "a\tb", "\u00e9"])
async def test_an_id_that_is_none_is_replaced(owner: httpx.AsyncClient, given: str) -> None:
    headers = [("x-request-id", given.encode("latin-1"))]
    answer = await owner.get("/api", headers=headers)
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "path",
    [
        b"/api/..",
        b"/api/models/.",
        b"/api/models/../keys",
        b"/api/models/%2e%2E/keys",
        b"/docs/../api/keys",
        b"/api/",
        b"/api/models/",
        b"//",
        b"/api//models",
        b"/api/models/a%2Fb",
        b"/api/models/a%5Cb",
        b"/api/models/a\\b",
        b"/api/models/%00",
        b"/api/models/a b",
        b"/api/models/%C3",
        b"/api/models/\xff",
    ],
)
async def test_paths_that_could_mean_two_things(app: ASGIApp, path: bytes) -> None:
    status, body = await raw(app, [(b"host", b"localhost")], path)
    assert status == 400
    assert b"path of this request is refused" in body


@pytest.mark.parametrize("path", [b"/", b"/api", b"/docs/", b"/api/models/%E9%B8%A2%E5%B0%BE"])
def test_plain_paths(path: bytes) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e",
        "%2E%2e",
        "%252e%252e",
        "..%2f..%2fetc",
        "a%2fb",
        "a%5cb",
        "a%00",
        "%00",
        "%20iris",
        "iris%20",
        "file:%2f%2fetc",
        "file:",
        "iris/",
        "%ff%fe",
        "a%0d%0ab",
        "-iris",
        ".iris",
        "%EF%BC%8F",
        "a" * 129,
    ],
)
async def test_hostile_names_on_every_route_that_takes_one(
    owner: httpx.AsyncClient, name: str
) -> None:
    for method, route in (
        ("GET", "/api/models/{}"),
        ("DELETE", "/api/models/{}"),
        ("GET", "/api/models/{}/versions"),
        ("POST", "/api/models/{}/versions"),
        ("GET", "/api/models/{}/versions/1"),
        ("PATCH", "/api/models/{}/versions/1"),
        ("PUT", "/api/models/{}/aliases/prod"),
        ("POST", "/api/models/{}/rollback"),
        ("GET", "/api/models/{}/logs"),
        ("PUT", "/api/deployments/{}"),
    ):
        path = httpx.URL("http://localhost").copy_with(raw_path=route.format(name).encode())
        body = {"version": 1, "traffic": {"1": 100}} if method in ("PUT", "PATCH") else None
        answer = await owner.request(method, path, json=body)
        assert answer.status_code == 400, (method, route)
        assert answer.json()["error"]["kind"] == "invalid_argument"


async def test_an_unexpected_error_is_logged_and_not_told(
    services: ApiServices, caplog: pytest.LogCaptureFixture
) -> None:
    @get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret at /home/secret")

    app = create_api(services, extra_routes=[broken])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as client:
        with caplog.at_level(logging.ERROR):
            answer = await client.get("/broken", headers={"x-request-id": "abc"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"] == {
        "kind": "internal",
        "message": "something went wrong inside the server; its log has the details under this "
        "request id",
        "request_id": "abc",
    }
    assert "secret at" in caplog.text
    assert [getattr(record, "request_id", "") for record in caplog.records] == ["abc"]
