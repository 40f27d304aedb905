"""The uvicorn front as a process, with control behind it as another, over its Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from maas.wire.fallback import ControlProxy, is_control

CONTROL = """
import asyncio, hashlib, json, sys, uvicorn

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size, digest, ended = 0, hashlib.sha256(), "cut"
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        size += len(message.get("body", b""))
        digest.update(message.get("body", b""))
        if not message.get("more_body"):
            ended = "whole"
            break
    with open(sys.argv[2], "a") as notes:
        notes.write(f"{scope['raw_path'].decode('latin-1')} {ended} {size}\\n")
    if ended == "cut":
        return
    status = 418 if scope["path"].endswith("teapot") else 200
    headers = [(b"content-type", b"application/json"), (b"x-one", b"1"), (b"x-one", b"2")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["path"].endswith("stream"):
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d\\n" % number, "more_body": True})
            await asyncio.sleep(0.1)
        await send({"type": "http.response.body"})
        return
    about = {
        "method": scope["method"],
        "path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "headers": sorted([k.decode(), v.decode("latin-1")] for k, v in scope["headers"]),
        "size": size,
        "sha256": digest.hexdigest(),
    }
    await send({"type": "http.response.body", "body": json.dumps(about).encode()})

uvicorn.run(app, uds=sys.argv[1], http="httptools", lifespan="off", log_level="critical")
"""
FRONT = """
import asyncio, sys
from pathlib import Path
from maas.settings import ServerSettings
from maas.wire.fallback import ControlProxy, serve

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"the data plane: " + scope["raw_path"]})

serve(ControlProxy(app, Path(sys.argv[1])), ServerSettings(port=int(sys.argv[2])))
"""


class House:
    """The two processes."""

    def __init__(self, run: Path):
        self.run = run
        self.socket = run / "api.sock"
        self.notes = run / "notes"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.front = subprocess.Popen(
            [sys.executable, "-c", FRONT, str(self.socket), str(self.port)]
        )
        self.control: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)
        self.start_control()
        until(lambda: accepts(("127.0.0.1", self.port)))

    def start_control(self) -> None:
        self.socket.unlink(missing_ok=True)
        command = [sys.executable, "-c", CONTROL, str(self.socket), str(self.notes)]
        self.control = subprocess.Popen(command)
        until(lambda: accepts(str(self.socket)))

    def stop_control(self) -> None:
        if self.control is not None:
            self.control.kill()
            self.control.wait()

    def close(self) -> None:
        self.client.close()
        self.stop_control()
        self.front.kill()
        self.front.wait()


def accepts(address: Any) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def until(done: Any) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    run = Path(tempfile.mkdtemp(prefix="maas"))
    found = House(run)
    yield found
    found.close()
    shutil.rmtree(run)


@pytest.mark.parametrize(
    ("path", "control"),
    [
        (b"/api", True), (b"/api/", True), (b"/api/models/x", True), (b"/docs", True),
        (b"/metrics", True), (b"/console/a", False), (b"/api/..%2f", True),
        (b"/apix", False), (b"/api2/predict", False), (b"/", False), (b"/docsy/predict", False),
        (b"/iris/api", False), (b"//api", False), (b"/API", False), (b"/%61pi", False),
        (b"/\xff", False), (b"", False),
    ],
)  # fmt: skip
def test_whole_segments_decide(path: bytes, control: bool) -> None:
    assert is_control(path) is control


def test_everything_else_is_the_data_planes(house: House) -> None:
    for path in ("/", "/iris/predict", "/apix", "/metricsx/predict"):
        assert house.client.post(path, content=b"{}").text == f"the data plane: {path}"


def test_controls_paths_reach_its_socket_as_they_were_sent(house: House) -> None:
    got = house.client.put("/api/models/%E6%A8%A1%2F..?a=%2F&b=&a=2", content=b"abc")
    about = got.json()
    assert (about["method"], about["path"]) == ("PUT", "/api/models/%E6%A8%A1%2F..")
    assert about["query"] == "a=%2F&b=&a=2"
    assert about["size"] == 3


def test_headers_pass_and_those_of_the_hop_do_not(house: House) -> None:
    headers = {
        "Authorization": "Bearer k", "X-Request-Id": "r-1", "Host": "maas.example:8080",
        "Origin": "http://evil.example", "Connection": "keep-alive", "TE": "trailers",
        "Cookie": "a=b",
    }  # fmt: skip
    got = house.client.get("/api/models", headers=headers)
    passed = dict(got.json()["headers"])
    assert passed["authorization"] == "Bearer k"
    assert passed["x-request-id"] == "r-1"
    # Control checks both, against pages that want to drive it.
    assert passed["host"] == "maas.example:8080"
    assert passed["origin"] == "http://evil.example"
    assert passed["cookie"] == "a=b"
    assert "te" not in passed
    assert got.headers.get_list("x-one") == ["1", "2"]


def test_a_status_passes(house: House) -> None:
    assert house.client.get("/api/teapot").status_code == 418


def test_a_request_without_a_body_has_none(house: House) -> None:
    about = house.client.get("/api/models").json()
    assert about["size"] == 0
    assert "transfer-encoding" not in dict(about["headers"])


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_passes_whole(house: House, chunked: bool) -> None:
    import hashlib

    body = bytes(range(256)) * 40_000  # 10 MB
    content = (body[at : at + 65_536] for at in range(0, len(body), 65_536)) if chunked else body
    about = house.client.post("/api/models/x/versions", content=content).json()
    assert about["size"] == len(body)
    assert about["sha256"] == hashlib.sha256(body).hexdigest()


def test_an_answer_is_streamed_as_it_comes(house: House) -> None:
    with house.client.stream("GET", "/api/events/stream") as got:
        times = [(line, time.monotonic()) for line in got.iter_lines()]
    assert [line for line, _ in times] == ["0", "1", "2"]
    assert times[2][1] - times[0][1] > 0.1


def test_many_at_once(house: House) -> None:
    async def ask() -> list[int]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(
            base_url=house.client.base_url, trust_env=False, limits=limits, timeout=20
        ) as client:
            got = await asyncio.gather(
                *(client.post(f"/api/{n}", content=str(n) * n) for n in range(100))
            )
        assert [one.json()["path"] for one in got] == [f"/api/{n}" for n in range(100)]
        return [one.status_code for one in got]

    assert set(asyncio.run(ask())) == {200}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload_that_breaks_off_never_looks_whole(house: House, chunked: bool) -> None:
    """Control must not take half a model for a model."""
    path = f"/api/broken/{chunked}"
    size = "transfer-encoding: chunked" if chunked else "content-length: 100"
    part = "5\r\nhello\r\n" if chunked else "hello"
    with socket.create_connection(("127.0.0.1", house.port)) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{size}\r\n\r\n{part}".encode())
        time.sleep(0.3)
    until(lambda: house.notes.exists() and path in house.notes.read_text())
    assert f"{path} cut 5" in house.notes.read_text().splitlines()


def test_while_control_is_away_it_is_said_so_and_the_data_plane_goes_on(house: House) -> None:
    house.stop_control()
    got = house.client.get("/api/models")
    assert got.status_code == 503
    assert got.json()["error"]["kind"] == "unavailable"
    assert house.client.get("/iris").text == "the data plane: /iris"
    house.start_control()
    assert house.client.get("/api/models").status_code == 200


def test_a_host_header_with_a_path_changes_nothing(house: House) -> None:
    """CVE-2026-48710: what is authorised is the path of the request line."""
    got = house.client.get("/iris", headers={"Host": "localhost/api?"})
    assert got.text == "the data plane: /iris"


def test_at_sigterm_what_is_in_flight_is_answered(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    front = subprocess.Popen([sys.executable, "-c", FRONT, str(house.socket), str(port)])
    try:
        until(lambda: accepts(("127.0.0.1", port)))
        found: list[str] = []

        def ask() -> None:
            with httpx.Client(trust_env=False) as client:
                found.append(client.get(f"http://127.0.0.1:{port}/slow").text)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.2)
        front.terminate()
        asking.join(10)
        assert found == ["the data plane: /slow"]
        assert front.wait(10) in (0, -15)
    finally:
        with contextlib.suppress(ProcessLookupError):
            front.kill()
        front.wait()


async def test_the_proxy_passes_the_lifespan_on() -> None:
    seen: list[str] = []

    async def app(scope: Mapping[str, Any], receive: object, send: object) -> None:
        seen.append(scope["type"])

    await ControlProxy(app, Path("/nowhere"))({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
    assert json.dumps(seen)
