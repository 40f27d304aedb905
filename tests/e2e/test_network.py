"""Hostile traffic: each attack gets its refusal, and healthy calls go on beside it."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import zoo
from tests.answers import error
from tests.load import Load
from tests.raw import read_answer, send_raw
from tests.server import Server

MIB = 1 << 20
LIMIT = 64 * MIB
PATHS = ["/counts/predict", "/v2/models/counts/infer", "/v1/models/counts:predict"]
COUNT = {"input_data": [[1, 2, 3]]}


@contextlib.contextmanager
def bounded(server: Server, slack: int = 64 * MIB) -> Iterator[None]:
    """The ingress may grow by one body and a little, and healthy calls go on meanwhile."""
    pid = server.processes()["ingress-1"]["pid"]
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is counted from here
    before = peak(pid)
    with Load(server, "/counts/predict", COUNT, callers=2) as load:
        yield
        load.more(20)
    assert load.failures == []
    grown = peak(pid) - before
    assert grown <= LIMIT + slack, f"grew by {grown / MIB:.0f} MiB"
    assert server.processes()["ingress-1"]["pid"] == pid


def peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def head(server: Server, path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: 127.0.0.1:{server.port}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def refused(answer: bytes, *statuses: bytes) -> None:
    assert answer.split()[1] in statuses, answer[:400]
    body = answer.partition(b"\r\n\r\n")[2]
    assert b"Traceback" not in body
    if body:
        assert "error" in json.loads(body)


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_says_it_is_a_gigabyte(server, path):
    with bounded(server):
        with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(head(server, path, f"content-length: {1 << 30}"))
                connection.sendall(bytes(MIB))
            answer = read_answer(connection)
        refused(answer, b"413")


@pytest.mark.parametrize("path", PATHS)
def test_a_gigabyte_that_does_not_say_so(server, path):
    part = b"%x\r\n%b\r\n" % (MIB, b" " * MIB)
    with bounded(server):
        with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
            sent = 0
            with contextlib.suppress(ConnectionError, TimeoutError):
                connection.sendall(head(server, path, "transfer-encoding: chunked"))
                connection.settimeout(2)
                while sent < 300:
                    connection.sendall(part)
                    sent += 1
            answer = read_answer(connection)
        # It may close before all is sent; what it has answered says why.
        assert answer or sent < 300
        if answer:
            refused(answer, b"413")


@pytest.fixture(scope="module")
def bomb() -> bytes:
    packed = gzip.compress(bytes(256 * MIB), 1)
    assert len(packed) < 2 * MIB
    return packed


@pytest.mark.parametrize("path", PATHS)
def test_a_gzip_bomb(server, path, bomb):
    with bounded(server):
        answer = server.post(path, bomb, headers={"content-encoding": "gzip"})
        assert "64 MiB" in error(path, answer, 413)


def test_a_bomb_within_a_bomb_is_not_opened(server):
    bomb = gzip.compress(gzip.compress(bytes(64 * MIB)))
    with bounded(server):
        answer = server.post("/counts/predict", bomb, headers={"content-encoding": "gzip, gzip"})
        assert answer.status_code in (400, 415)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"[" * 250_000, b'{"a":' * 250_000, b'{"inputs":' + b"[" * MIB])
def test_json_that_nests_without_end(server, path, body):
    with bounded(server):
        error(path, server.post(path, body), 400)


def test_many_values_that_are_no_numbers(server):
    body = b'{"text": [' + b'"",' * (6 * MIB) + b'""]}'
    with bounded(server, slack=600 * MIB):
        assert server.post("/words/predict", body).status_code in (400, 413, 429)


def test_a_flood_of_chunks(server):
    body = b'{"input_data": [[1, 2, 3]]}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body + b" " * 100_000)
    with bounded(server):
        sent = head(server, "/counts/predict", "transfer-encoding: chunked")
        answer = send_raw(server.port, sent + chunks + b"0\r\n\r\n", 20)
    # The front may join the chunks before anybody can count them.
    assert answer.split()[1] in (b"200", b"400", b"413"), answer[:200]


def test_huge_headers(server):
    for size in (40_000, 1_000_000):
        sent = head(server, "/counts/predict", "content-length: 2", "x-long: " + "a" * size)
        answer = send_raw(server.port, sent + b"{}")
        assert answer.split()[1:2] in ([b"431"], [b"400"]), answer[:200]
    assert server.post("/counts/predict", COUNT).status_code == 200


def test_many_headers(server):
    many = [f"x-{index}: a" for index in range(5000)]
    answer = send_raw(
        server.port, head(server, "/counts/predict", "content-length: 2", *many) + b"{}"
    )
    assert answer.split()[1:2] in ([b"431"], [b"400"]), answer[:200]
    if b" 431 " in answer[:20]:
        assert b"more than 32 KiB of headers" in answer
    assert server.post("/counts/predict", COUNT).status_code == 200


def test_a_long_path(server):
    answer = send_raw(server.port, head(server, "/" + "a" * 100_000 + "/predict"))
    assert answer.split()[1:2] in ([b"431"], [b"400"], [b"414"]), answer[:200]


@pytest.mark.slow
def test_headers_that_never_end(server):
    if server.front == "uvicorn":
        pytest.xfail("uvicorn has no time-out for headers; Envoy has 10 s")
    with (
        Load(server, "/counts/predict", COUNT, callers=2) as load,
        socket.create_connection(("127.0.0.1", server.port), 20) as connection,
    ):
        connection.sendall(b"POST /counts/predict HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        connection.settimeout(20)
        answer = connection.recv(4096)  # whatever it says, it does not wait for ever
        assert answer == b"" or answer.split()[1] in (b"408", b"400")
    assert load.failures == []


def test_idle_sockets(server):
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
        with Load(server, "/counts/predict", COUNT, callers=4) as load:
            load.more(300)
        assert load.failures == []


@pytest.mark.parametrize(
    "headers",
    [
        ("content-length: 5", "transfer-encoding: chunked"),
        ("content-length: 5", "content-length: 6"),
        ("transfer-encoding: chunked, identity",),
        ("transfer-encoding: xchunked",),
        ("content-length: -1",),
        ("content-length: 1e3",),
    ],
)
def test_requests_that_two_readers_could_cut_differently(server, headers):
    smuggled = b"0\r\n\r\nPOST /iris/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(head(server, "/counts/predict", *headers) + smuggled)
        connection.settimeout(3)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while part := connection.recv(65536):
                answer += part
    assert answer == b"" or answer.split()[1] in (b"400", b"501"), answer
    assert answer.count(b"HTTP/1.1 ") <= 1, answer


@pytest.mark.parametrize("path", ["/%ff%fe/predict", "/v2/models/%ED%A0%80", "/api/%ff"])
def test_paths_that_are_not_utf8_harm_nobody(server, path):
    with Load(server, "/counts/predict", COUNT, callers=4) as load:
        for _ in range(10):
            answer = send_raw(server.port, head(server, path, "content-length: 0"), 2)
            assert answer.split()[1:2] in ([b"400"], [b"404"]), "no answer"
        load.more(50)
    assert load.failures == []


@pytest.mark.parametrize(
    "data", [b"\x00" * 64, b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\xff" * 4096]
)
def test_what_is_no_http(server, data):
    answer = send_raw(server.port, data, 3)
    assert answer == b"" or b" 4" in answer[:16] or b" 505 " in answer[:16], answer
    assert server.post("/counts/predict", COUNT).status_code == 200


def test_a_caller_who_goes_away_in_the_middle(server):
    with Load(server, "/counts/predict", COUNT, callers=2) as load:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
                connection.sendall(head(server, "/counts/predict", "content-length: 100") + b"{")
            with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
                body = json.dumps({"input_data": [zoo.FLOWER]}).encode()
                length = f"content-length: {len(body)}"
                connection.sendall(head(server, "/iris/predict", length) + body)
        load.more(50)
    assert load.failures == []


def test_pipelined_calls_are_answered_in_order(server):
    body = b'{"input_data": [[1, 2, %d]]}'
    bodies = [body % index for index in range(5)]
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(
            b"".join(
                head(server, "/counts/predict", f"content-length: {len(one)}") + one
                for one in bodies
            )
        )
        connection.settimeout(5)
        got = b""
        while got.count(b'{"prediction"') < 5:
            part = connection.recv(65536)
            assert part, got
            got += part
    places = [got.index(b'{"prediction":[[%d]]}' % (3 + index)) for index in range(5)]
    assert places == sorted(places)
