"""What HTTP itself promises: ids, methods, names, probes, and routes that are still to come."""

from __future__ import annotations

import pytest
from tests import zoo
from tests.answers import error, plain_error
from tests.raw import send_raw

BODY = {"input_data": [zoo.FLOWER]}
CALLS = {
    "/iris/predict": BODY,
    "/v2/models/iris/infer": {
        "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": zoo.FLOWER}]
    },
    "/v1/models/iris:predict": {"instances": [zoo.FLOWER]},
}


@pytest.mark.parametrize("path", CALLS)
def test_a_callers_request_id_comes_back(server, path):
    answer = server.post(path, CALLS[path], headers={"x-request-id": "order-17"})
    assert answer.headers["x-request-id"] == "order-17"
    assert answer.headers["maas-model"] == "iris:1"


@pytest.mark.parametrize("path", CALLS)
def test_an_id_is_made_where_none_came(server, path):
    ids = {server.post(path, CALLS[path]).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("given", [b"x" * 129, b"", b"a\x01b", "花".encode()])
def test_an_id_that_cannot_go_into_logs_is_replaced(server, given):
    head = b"POST /nobody/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n"
    answer = send_raw(server.port, head + b"x-request-id: " + given + b"\r\n\r\n{}")
    assert answer.split()[1] in (b"404", b"400")
    assert b"x" * 129 not in answer
    assert "花".encode() not in answer


def test_errors_carry_the_id(server):
    answer = server.post("/nobody/predict", BODY, headers={"x-request-id": "order-18"})
    plain_error(answer, 404)
    assert answer.json()["error"]["request_id"] == "order-18"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_probes(server, path):
    answer = server.get(path)
    assert answer.status_code == 200
    assert set(answer.json().values()) == {True}


def test_the_index_has_links(server):
    answer = server.get("/").json()
    assert answer["name"] == "maas"
    assert answer["models"] == len(server.models())
    assert answer["links"]["documentation"] == "/docs"


@pytest.mark.parametrize(
    "path", ["/", "/livez", "/v2", "/v2/models/iris", "/v1/models/iris", "/v1/models/iris/metadata"]
)
def test_head_is_get_without_its_body(server, path):
    head, get = server.ask("HEAD", path), server.get(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    # RFC 9110, 8.6: a content-length in the answer to HEAD is that of the answer to GET.
    assert head.headers.get("content-length") in (None, get.headers["content-length"])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/iris/predict", "POST"),
        ("HEAD", "/iris/predict", "POST"),
        ("PUT", "/predict", "POST"),
        ("DELETE", "/classify", "POST"),
        ("GET", "/v2/models/iris/infer", "POST"),
        ("GET", "/v1/models/iris:predict", "POST"),
        ("POST", "/", "GET"),
        ("POST", "/readyz", "GET"),
        ("POST", "/v2", "GET"),
        ("POST", "/v2/models/iris", "GET"),
        ("DELETE", "/v1/models/iris", "GET"),
        ("PATCH", "/v1/models/iris/metadata", "GET"),
    ],
)
def test_other_methods_are_told_which_are_allowed(server, method, path, allow):
    answer = server.ask(method, path)
    assert allow in [one.strip() for one in answer.headers["allow"].split(",")]
    if method == "HEAD":
        assert answer.status_code == 405
        assert answer.content == b""
    else:
        assert allow in error(path, answer, 405)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/models/iris:explain"),
    ],
)
def test_what_is_planned_says_so(server, method, path):
    assert "not" in error(path, server.ask(method, path, json={}), 501)


def test_the_console_is_planned_too(server):
    assert server.get("/console").status_code == 501


@pytest.mark.parametrize("path", ["/nothing", "/v2/nothing", "/v2/models/iris/x"])
def test_no_such_route(server, path):
    assert "route" in error(path, server.get(path), 404)


@pytest.mark.parametrize("path", ["/iris/predict/", "/v2/models/iris/", "/v1/models/iris/"])
def test_a_slash_at_the_end(server, path):
    error(path, server.post(path, BODY), 400)


HOSTILE = [
    "..",
    "%2e%2e",
    "%252e%252e",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2firis",
    "iris%00",
    "%00",
    "file%3a%2f%2f%2fetc%2fpasswd",
    "%20iris",
    "iris%20",
    "iris%2f",
    "iris%5c..",
    ".iris",
    "-iris",
    "_iris",
    "iris%0d%0ax-evil:1",
    "a" * 129,
    "%ff%fe",
    "%ED%A0%80",
    "%E2%80%AEiris",
    "iris;drop",
    "%27%20OR%201=1",
    "%3Cscript%3E",
]


@pytest.mark.parametrize("form", ["/{}/predict", "/v2/models/{}/infer", "/v1/models/{}:predict"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(server, form, name):
    path = form.format(name)
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n"
    answer = send_raw(server.port, head.encode() + b"{}")
    status = answer.split()[1]
    body = answer.partition(b"\r\n\r\n")[2]
    assert status == b"400", answer
    assert b"x-evil" not in answer.partition(b"\r\n\r\n")[0]
    assert b'"error"' in body
    assert b"passwd" not in body or b"root:" not in body


@pytest.mark.parametrize(
    "path", ["/x/../iris/predict", "//iris/predict", "/./iris/predict", "/iris//predict"]
)
def test_paths_are_not_folded_together(server, path):
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n"
    answer = send_raw(server.port, head.encode() + b"{}")
    assert answer.split()[1] in (b"400", b"404"), answer


def test_a_query_is_no_part_of_the_route(server):
    assert server.post("/iris/predict?x=/../y", BODY).status_code == 200
