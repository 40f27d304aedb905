"""The data plane over bare ASGI: what goes wrong, in every dialect's shape."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maas_test_plane import (
    DIALECTS,
    GETS,
    PLAIN,
    PLAN,
    POSTS,
    Got,
    Server,
    message_of,
)

from maas.core.errors import ErrorKind, MaasError
from maas.wire.status import HTTP_STATUS


@pytest.mark.parametrize("kind", ErrorKind)
@pytest.mark.parametrize("post", range(3), ids=DIALECTS)
async def test_an_error_has_its_status_and_its_dialects_shape(
    server: Server, post: int, kind: ErrorKind
) -> None:
    server.engine.error = MaasError(kind, "it was wrong; 模型", retry_after_s=1.4)
    got = await server.ask("POST", *POSTS[post])
    assert got.status == HTTP_STATUS[kind]
    assert message_of(got, DIALECTS[post]) == "it was wrong; 模型"
    assert "模型".encode() in got.body
    assert got.headers["retry-after"] == "1"
    if post == 0:
        assert got.json["error"]["kind"] == kind.value


@pytest.mark.parametrize("post", range(3), ids=DIALECTS)
async def test_what_nobody_expected_is_500_with_an_id_and_no_details(
    server: Server, post: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.engine.error = KeyError("/srv/secret/model.onnx")
    path, body = POSTS[post]
    got = await server.ask("POST", path, body, x_request_id="r-7")
    assert got.status == 500
    message = message_of(got, DIALECTS[post])
    assert "r-7" in message
    assert "secret" not in got.body.decode()
    assert "Traceback" not in got.body.decode()
    assert "secret" in caplog.text  # the log has what the caller must not see
    assert caplog.records[0].request_id == "r-7"
    assert (await server.ask("GET", "/livez")).status == 200


@pytest.mark.parametrize(
    ("seconds", "header"), [(None, None), (0.0, "1"), (0.2, "1"), (1.5, "2"), (30.0, "30")]
)
async def test_when_to_come_back_is_whole_seconds_and_never_none(
    server: Server, seconds: float | None, header: str | None
) -> None:
    server.engine.error = MaasError(ErrorKind.UNAVAILABLE, "later", retry_after_s=seconds)
    got = await server.ask("POST", "/iris/predict", PLAIN)
    assert got.headers.get("retry-after") == header


@pytest.mark.parametrize(
    ("method", "path", "status", "dialect"),
    [
        ("POST", "/nobody/predict", 404, "plain"),
        ("POST", "/v2/models/nobody/infer", 404, "oip"),
        ("POST", "/v1/models/nobody:predict", 404, "tfserving"),
        ("GET", "/v2/models/nobody", 404, "oip"),
        ("GET", "/v1/models/nobody", 404, "tfserving"),
        ("GET", "/v1/models/nobody/metadata", 404, "tfserving"),
        ("POST", "/iris:9/predict", 404, "plain"),
        ("POST", "/v1/models/iris/versions/9:predict", 404, "tfserving"),
        ("GET", "/v1/models/iris/labels/none", 404, "tfserving"),
        ("POST", "/v2/models/idle/infer", 503, "oip"),
        ("POST", "/v1/models/idle:predict", 503, "tfserving"),
        ("GET", "/nothing", 404, "plain"),
        ("GET", "/v2/nothing", 404, "oip"),
        ("GET", "/v1/models/iris/nothing", 400, "tfserving"),
        ("POST", "/%2e%2e/predict", 400, "plain"),
        ("POST", "/v2/models/%2e%2e/infer", 400, "oip"),
        ("GET", "/v1/models/%2e%2e", 400, "tfserving"),
        ("POST", "/console", 501, "plain"),
        ("GET", "/v2/models/iris/generate", 405, "oip"),
    ],
)
async def test_what_cannot_be_has_its_status_in_the_dialect_of_its_path(
    server: Server, method: str, path: str, status: int, dialect: str
) -> None:
    got = await server.ask(method, path, PLAIN)
    assert got.status == status
    assert message_of(got, dialect)
    assert "secret" not in got.body.decode()


@pytest.mark.parametrize("post", range(3), ids=DIALECTS)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"x":', b"[" * 300_000, b'{"a":' * 200_000,
     b'{"input_data": [[1, 2], [3]]}', b'{"inputs": "abc"}', b'{"instances": []}',
     b'{"instances": [[1, "a"]]}', b"\x00" * 100, b'{"input_data": NaN}', b"1" * 100_000],
    ids=range(15),
)  # fmt: skip
async def test_a_body_that_makes_no_sense_is_400_in_its_shape(
    server: Server, post: int, body: bytes
) -> None:
    got = await server.ask("POST", POSTS[post][0], body)
    assert got.status == 400
    assert message_of(got, DIALECTS[post])
    assert server.engine.calls == []


@pytest.mark.parametrize("path", [*GETS, "/v2/models/iris/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X" * 99])
async def test_a_method_that_is_not_answered_names_the_one_that_is(
    server: Server, path: str, method: str
) -> None:
    got = await server.ask(method, path)
    assert got.status == 405
    assert "GET" in got.headers["allow"].split(", ")
    assert len(got.body) < 300


@pytest.mark.parametrize("path", [path for path, _ in POSTS] + ["/predict", "/classify"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_a_prediction_is_posted(server: Server, path: str, method: str) -> None:
    got = await server.ask(method, path)
    assert got.status == 405
    assert got.headers["allow"] == "POST"


@pytest.mark.parametrize("post", range(3), ids=DIALECTS)
async def test_a_body_beyond_the_limit_is_413_in_its_shape(post: int) -> None:
    server = Server(body_bytes=1000)
    await server.router.follow(PLAN)
    path, body = POSTS[post]
    assert (await server.ask("POST", path, body)).status == 200
    large = json.dumps(body).encode() + b" " * 1000
    for got in (
        await server.ask("POST", path, large),
        await server.ask("POST", path, large, parts=9),
        await server.ask("POST", path, large, parts=9, content_length=str(len(large))),
        await server.ask("POST", path, gzip.compress(large), content_encoding="gzip"),
    ):
        assert got.status == 413
        assert "limits.body_bytes" in message_of(got, DIALECTS[post])
    unread = await server.ask("POST", path, body, content_encoding="br")
    assert unread.status == 415
    assert len(server.engine.calls) == 1
    server.plane.worker.shutdown()


async def test_a_client_that_leaves_during_its_body_costs_nothing(server: Server) -> None:
    messages = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return messages.pop(0)

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    scope = {"method": "POST", "raw_path": b"/iris/predict", "headers": []}
    await server.plane(scope, receive, send)
    assert Got(sent).status == 499
    assert server.engine.calls == []


PATHS = st.one_of(
    st.sampled_from([path.encode() for path, _ in POSTS] + [b"/predict", b"/classify"]),
    st.binary(max_size=40).map(lambda tail: b"/" + tail),
    st.binary(max_size=20).map(lambda name: b"/v2/models/" + name + b"/infer"),
    st.binary(max_size=20).map(lambda name: b"/v1/models/" + name + b":predict"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["x", "name", "data", "shape", "datatype", "b64"]), inner,
                      max_size=4),
    max_leaves=12,
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(
        st.sampled_from(
            ["input_data", "inputs", "instances", "x", "text", "model", "outputs", "id",
             "parameters", "signature_name"]
        ),
        VALUES,
        max_size=4,
    ).map(lambda tree: json.dumps(tree).encode()),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["POST", "GET", "HEAD"]), PATHS, BODIES)
def test_no_request_makes_the_server_fail(method: str, path: bytes, body: bytes) -> None:
    async def ask() -> Got:
        server = Server()
        await server.router.follow(PLAN)
        try:
            return await server.ask(method, path, body)
        finally:
            server.plane.worker.shutdown()

    got = asyncio.run(ask())
    assert got.status < 500 or got.status in (501, 503)
    assert got.body or method == "HEAD"
