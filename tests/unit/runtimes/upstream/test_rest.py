"""HTTP to servers that mean harm, or mean well and are broken."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from tests.unit.runtimes.upstream.peers import http, peer, rest_to, saying

from maas.core.errors import ErrorKind, MaasError


def failure(port: int, **about) -> MaasError:
    rest = rest_to(port, **about)
    try:
        with pytest.raises(MaasError) as caught:
            rest.get("/v2")
    finally:
        rest.close()
    assert "127.0.0.1" not in caught.value.message
    return caught.value


def test_an_answer_and_what_is_asked():
    heard: list[bytes] = []

    def answer(connection: socket.socket, head: bytes) -> None:
        heard.append(head)
        connection.sendall(http(b"{}", "200 OK", "X-One: 1"))

    with peer(answer) as port:
        rest = rest_to(port, key="k3y")
        assert rest.get("/v2").headers["x-one"] == "1"
        assert rest.post("/v2/models/m/infer", b"body", {"X-Two": "2"}).body == b"{}"
        rest.close()
    first, second = (head.decode() for head in heard)
    assert first.startswith("GET /v2 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}\r\n" in first
    assert "Authorization: Bearer k3y\r\n" in first
    assert second.endswith("\r\n\r\nbody")
    assert "X-Two: 2\r\n" in second


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(status):
    asked: list[bytes] = []

    def answer(connection: socket.socket, head: bytes) -> None:
        asked.append(head)
        connection.sendall(http(b"", status, "Location: http://169.254.169.254/latest/meta-data"))

    with peer(answer) as port:
        error = failure(port)
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "redirect" in error.message
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad", ErrorKind.INVALID_ARGUMENT),
        ("401 No", ErrorKind.UNAVAILABLE),
        ("404 None", ErrorKind.UNAVAILABLE),
        ("413 Large", ErrorKind.TOO_LARGE),
        ("422 What", ErrorKind.INVALID_ARGUMENT),
        ("429 Much", ErrorKind.RESOURCE_EXHAUSTED),
        ("500 Oh", ErrorKind.INTERNAL),
        ("503 Later", ErrorKind.UNAVAILABLE),
        ("504 Late", ErrorKind.DEADLINE_EXCEEDED),
        ("599 What", ErrorKind.INTERNAL),
    ],
)
def test_its_errors(status, kind):
    body = b'{"error": "no such thing at http://10.0.0.7:8000/x, 10.0.0.7:80, db.internal:5432"}'
    with peer(saying(http(body, status))) as port:
        error = failure(port)
    assert error.kind is kind
    assert "10.0.0.7" not in error.message
    assert "internal:5432" not in error.message
    assert "refuses this server's key" in error.message or "no such thing at" in error.message


@pytest.mark.parametrize(
    "said",
    [b"", b"nonsense", b"[" * 100_000, b'{"error": 7}', b'{"error": "' + b"x" * 200_000 + b'"}'],
)
def test_error_bodies_of_any_kind(said):
    with peer(saying(http(said, "400 Bad"))) as port:
        error = failure(port)
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert len(error.message) < 400


def test_a_body_without_end():
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with peer(answer) as port:
        error = failure(port, answer_bytes=1 << 20)
    assert error.kind is ErrorKind.INTERNAL
    assert "longer than 1048576 bytes" in error.message


def test_headers_without_end():
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-Y: " + b"z" * 1000 + b"\r\n")

    with peer(answer) as port:
        assert failure(port).kind is ErrorKind.INTERNAL


@pytest.mark.parametrize(
    "said",
    [
        b"what?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"\0" * 100,
        b"HTTP/9 1\r\n",
    ],
)
def test_what_is_no_http(said):
    with peer(lambda connection, _: (connection.sendall(said), connection.close())) as port:
        assert failure(port).kind in (ErrorKind.INTERNAL, ErrorKind.UNAVAILABLE)


def test_a_compressed_answer_is_not_unpacked():
    with peer(saying(http(b"x", "200 OK", "Content-Encoding: gzip"))) as port:
        assert "compressed" in failure(port).message


@pytest.mark.parametrize("drip", [b"HTTP/1.1 200 OK\r\n", http(b"x" * 100)[:-90]])
def test_a_slow_drip_ends_at_the_deadline(drip):
    stop = threading.Event()

    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(drip)
        while not stop.wait(0.05):
            connection.sendall(b"x")

    with peer(answer) as port:
        began = time.monotonic()
        error = failure(port, call_s=0.5)
        assert time.monotonic() - began < 60
        stop.set()
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert "upstream.call_s" in error.message


def test_a_reader_that_does_not_read():
    def answer(connection: socket.socket, head: bytes) -> None:
        time.sleep(3)

    with peer(answer) as port:
        rest = rest_to(port, call_s=0.5)
        with pytest.raises(MaasError) as caught:
            rest.post("/v2", b"x" * (64 << 20), {})
        rest.close()
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED


def test_nobody_is_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = failure(port)
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "does not answer" in error.message


def test_a_kept_connection_that_was_closed():
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(http(b"{}"))
        connection.close()  # without having said so

    with peer(answer) as port:
        rest = rest_to(port)
        for _ in range(4):
            assert rest.get("/v2").body == b"{}"
            time.sleep(0.02)
        rest.close()


def test_a_name_that_changes_its_meaning():
    """DNS rebinding: the check is on what is connected to, each time."""
    meanings = [["127.0.0.1"], ["169.254.169.254"], ["::ffff:10.0.0.1"], ["127.0.0.1"]]
    with peer(lambda c, _: c.sendall(http(b"{}", "200 OK", "Connection: close"))) as port:
        rest = rest_to(port, resolve=lambda host, port: meanings.pop(0))
        assert rest.get("/v2").body == b"{}"
        for _ in range(2):
            with pytest.raises(MaasError, match=r"upstream\.networks") as caught:
                rest.get("/v2")
            assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
        assert rest.get("/v2").body == b"{}"
        rest.close()
    assert meanings == []


def test_loopback_is_refused_unless_it_is_allowed():
    with peer(saying(http(b"{}"))) as port:
        error = failure(port, networks=())
    assert error.kind is ErrorKind.FAILED_PRECONDITION
    assert "upstream.networks" in error.message


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:3128")
    with peer(saying(http(b"{}"))) as port:
        rest = rest_to(port)
        assert rest.get("/v2").body == b"{}"
        rest.close()
