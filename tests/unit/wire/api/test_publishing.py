from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from litestar.types import ASGIApp

from maas.core.identity import ServableId
from maas.core.records import Operation, OperationEvent
from maas.registry import Registry
from maas.testing.deployments import FakeDeployments
from maas.testing.pipeline import FakePipeline
from maas.wire.api import ApiServices

Publish = Callable[..., Awaitable[dict[str, object]]]
VERSIONS = "/api/models/iris/versions"
TAR = {"Content-Type": "application/x-tar"}


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def staged(home: Path) -> list[Path]:
    return list((home / "staging").iterdir())


def found(folder: Path, name: str) -> list[Path]:
    return list(folder.rglob(name))


def parse(stream: bytes) -> list[dict[str, str]]:
    """Server-sent events as dictionaries of their fields; comments left out."""
    events = []
    for block in stream.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if fields:
            events.append(fields)
    return events


async def test_a_raw_file_with_everything_said_about_it(
    owner: httpx.AsyncClient, registry: Registry
) -> None:
    answer = await owner.post(
        VERSIONS,
        content=b"model",
        params={
            "filename": "鸢尾.onnx",
            "description": "一",
            "accuracy": "0.97",
            "metric": ["rmse=3.1", "mae=1e-3"],
            "tag": ["team=甲", "expr=a=b"],
            "alias": ["prod", "beta", "prod"],
            "promote": "true",
        },
    )
    assert answer.status_code == 202
    accepted = msgspec.json.decode(answer.content, type=Operation)
    assert answer.headers["location"] == f"/api/operations/{accepted.id}"
    await owner.get(f"/api/operations/{accepted.id}/events")
    version = registry.version("iris", 1)
    assert version.description == "一"
    assert version.accuracy == 0.97
    assert version.metrics == {"rmse": 3.1, "mae": 0.001}
    assert version.tags == {"team": "甲", "expr": "a=b"}
    assert version.aliases == ("beta", "prod")
    assert version.created_by == "owner"
    assert registry.artifact("iris", 1).entry == "鸢尾.onnx"


async def test_a_tar_stream(owner: httpx.AsyncClient, registry: Registry, home: Path) -> None:
    body = tar({"model/a.onnx": b"a", "model/w.bin": b"w", "sample/x.npy": b"s"})
    answer = await owner.post(VERSIONS, content=body, headers=TAR)
    assert answer.status_code == 202
    await owner.get(f"{answer.headers['location']}/events")
    artifact = registry.artifact("iris", 1)
    assert (artifact.file / "w.bin").read_bytes() == b"w"
    assert staged(home) == []


async def test_a_card_is_the_description(owner: httpx.AsyncClient, registry: Registry) -> None:
    body = tar({"model/a.onnx": b"a", "card/README.md": "# 鸢尾花".encode()})
    answer = await owner.post(VERSIONS, content=body, headers=TAR)
    await owner.get(f"{answer.headers['location']}/events")
    assert registry.version("iris", 1).description == "# 鸢尾花"


@pytest.mark.parametrize(
    ("card", "params", "words"),
    [
        (b"# Iris", {"description": "iris"}, "one of the two"),
        (b"\xff\xfe", {}, "not UTF-8"),
        (b"x" * 10_001, {}, "10001 characters"),
    ],
)
async def test_cards_that_are_refused(
    owner: httpx.AsyncClient, home: Path, card: bytes, params: dict[str, str], words: str
) -> None:
    body = tar({"model/a.onnx": b"a", "card/README.md": card})
    answer = await owner.post(VERSIONS, content=body, headers=TAR, params=params)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert staged(home) == []


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"accurcy": "0.9"}, "'accurcy' is not a parameter"),
        ({"accuracy": "high"}, "accuracy"),
        ({"accuracy": "1.1"}, "accuracy is 1.1"),
        ({"accuracy": "nan"}, "accuracy"),
        ({"metric": "rmse"}, "metric=name=value"),
        ({"metric": "=3"}, "metric=name=value"),
        ({"metric": "rmse=low"}, "expected a number"),
        ({"metric": "rmse=nan"}, "expected a number"),
        ({"tag": "team"}, "tag=name=value"),
        ({"alias": "../x"}, "not an alias"),
        ({"alias": "12"}, "digits alone"),
        ({"promote": "perhaps"}, "promote"),
        ({"trust": "perhaps"}, "trust"),
        ({"engine": "../x"}, "not the name of an engine"),
        ({"engine": "x" * 65}, "not the name of an engine"),
        ({"quantize": "q5_k"}, "no quantisation"),
        ({"context": "-1"}, "a context of -1"),
        ({"context": "much"}, "context"),
        ({"served_name": "a b"}, "not a served name"),
        ({"drop_params": "perhaps"}, "drop_params"),
        ({"filename": "../../etc/passwd"}, "cannot be a file name"),
        ({"filename": "/etc/passwd"}, "cannot be a file name"),
        ({"description": "x" * 10_001}, "10001 characters"),
    ],
)
async def test_options_that_are_refused(
    owner: httpx.AsyncClient, home: Path, params: dict[str, str], words: str
) -> None:
    answer = await owner.post(VERSIONS, content=b"model", params=params)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert staged(home) == []


@pytest.mark.parametrize("role", ["owner", "operator"])
async def test_code_is_published_by_who_may(
    clients: dict[str, httpx.AsyncClient], pipeline: FakePipeline, role: str
) -> None:
    body = tar({"model/a.pkl": b"a", "code/features.py": b"f", "code/p/__init__.py": b""})
    params = {"trust": "true", "engine": "pickle"}
    answer = await clients[role].post(VERSIONS, content=body, headers=TAR, params=params)
    assert answer.status_code == 202
    await clients[role].get(f"{answer.headers['location']}/events")
    assert pipeline.options.trust is True
    assert pipeline.options.engine == "pickle"
    assert pipeline.code == {"features.py": b"f", "p/__init__.py": b""}


async def test_what_is_said_of_a_language_model(
    owner: httpx.AsyncClient, pipeline: FakePipeline
) -> None:
    params = [
        ("quantize", "q4_0"),
        ("context", "4096"),
        ("served_name", "gpt-4o-mini"),
        ("served_name", "openai/gpt-4o"),
        ("served_name", "gpt-4o-mini"),
        ("drop_params", "true"),
    ]
    answer = await owner.post(VERSIONS, content=b"model", params=params)
    assert answer.status_code == 202
    await owner.get(f"{answer.headers['location']}/events")
    assert pipeline.options.quantize == "q4_0"
    assert pipeline.options.context_tokens == 4096
    assert pipeline.options.served_names == ("gpt-4o-mini", "openai/gpt-4o")
    assert pipeline.options.drop_params


async def test_code_is_not_published_by_a_publisher(
    clients: dict[str, httpx.AsyncClient], home: Path
) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    answer = await clients["publisher"].post(
        VERSIONS, content=untouched(), params={"trust": "true"}
    )
    assert answer.status_code == 403
    message = answer.json()["error"]["message"]
    assert "--trust" in message
    assert "owner or operator" in message
    assert staged(home) == []


@pytest.mark.parametrize("role", ["owner", "publisher"])
async def test_code_that_nobody_trusts(
    clients: dict[str, httpx.AsyncClient], home: Path, role: str
) -> None:
    body = tar({"model/a.pkl": b"a", "code/features.py": b"f"})
    answer = await clients[role].post(VERSIONS, content=body, headers=TAR)
    assert answer.status_code == 400
    assert "--trust" in answer.json()["error"]["message"]
    assert staged(home) == []


@pytest.mark.parametrize("name", ["api", "v1", "docs", "predictions"])
async def test_names_that_are_routes(owner: httpx.AsyncClient, name: str) -> None:
    answer = await owner.post(f"/api/models/{name}/versions", content=b"model")
    assert answer.status_code == 400
    assert "is a route" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "files",
    [
        {"../evil": b"x"},
        {"/evil": b"x"},
        {"model/../../evil": b"x"},
        {"evil": b"x"},
        {"sample/x": b"x"},
        {"model/a": b"x", "evil/b": b"y"},
    ],
)
async def test_a_hostile_tar_is_refused_whole(
    owner: httpx.AsyncClient, home: Path, files: dict[str, bytes]
) -> None:
    answer = await owner.post(VERSIONS, content=tar(files), headers=TAR)
    assert answer.status_code == 400
    assert staged(home) == []
    assert (await owner.get("/api/models")).json()["models"] == []
    assert not found(home, "evil")


async def test_what_is_no_tar(owner: httpx.AsyncClient, home: Path) -> None:
    answer = await owner.post(VERSIONS, content=b"model" * 1000, headers=TAR)
    assert answer.status_code == 400
    assert staged(home) == []


async def test_no_body(owner: httpx.AsyncClient) -> None:
    answer = await owner.post(VERSIONS)
    assert answer.status_code == 400
    assert "no body" in answer.json()["error"]["message"]


async def test_a_compressed_upload(owner: httpx.AsyncClient) -> None:
    answer = await owner.post(VERSIONS, content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


async def test_an_upload_that_announces_too_much_is_not_read(owner: httpx.AsyncClient) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    answer = await owner.post(
        VERSIONS, content=untouched(), headers={"Content-Length": str(100_001)}
    )
    assert answer.status_code == 413


async def test_an_upload_that_goes_on_too_long(owner: httpx.AsyncClient, home: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 10_000
            yield bytes(10_000)

    answer = await owner.post(VERSIONS, content=endless())
    assert answer.status_code == 413
    assert sent <= 120_000
    assert staged(home) == []


async def test_a_client_that_goes_away(app: ASGIApp, home: Path, registry: Registry) -> None:
    messages = [
        {"type": "http.request", "body": b"half a model", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[dict] = []

    async def receive() -> dict:
        return messages.pop(0)

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": VERSIONS,
        "raw_path": VERSIONS.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"x-api-key", b"the-key-of-the-owner")],
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert staged(home) == []
    assert registry.models().models == ()


async def test_two_publishers_at_once(
    owner: httpx.AsyncClient, clients: dict[str, httpx.AsyncClient], registry: Registry
) -> None:
    answers = await asyncio.gather(
        *(
            clients[role].post(VERSIONS, content=f"{role} {number}".encode())
            for number in range(5)
            for role in ("owner", "publisher")
        )
    )
    for answer in answers:
        assert answer.status_code == 202
        await owner.get(f"{answer.headers['location']}/events")
    versions = registry.model("iris").versions
    assert sorted(version.version for version in versions) == list(range(1, 11))
    assert {version.created_by for version in versions} == {"owner", "publisher"}
    assert len({version.digest for version in versions}) == 10


async def test_two_publishers_of_the_same_file_at_once(
    owner: httpx.AsyncClient, registry: Registry
) -> None:
    answers = await asyncio.gather(*(owner.post(VERSIONS, content=b"same") for _ in range(4)))
    created = []
    for answer in answers:
        await owner.get(f"{answer.headers['location']}/events")
        created.append((await owner.get(answer.headers["location"])).json()["created"])
    assert sorted(created) == [False, False, False, True]
    assert len(registry.model("iris").versions) == 1


async def test_an_idempotency_key_starts_one_job(
    owner: httpx.AsyncClient, registry: Registry
) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await owner.post(VERSIONS, content=b"model", headers=headers)
    second = await owner.post(VERSIONS, content=b"model", headers=headers)
    assert first.json()["id"] == second.json()["id"]
    other = await owner.post(VERSIONS, content=b"longer model", headers=headers)
    assert other.status_code == 409
    other = await owner.post(VERSIONS, content=b"model", headers=headers, params={"tag": "a=b"})
    assert other.status_code == 409
    await owner.get(f"{first.headers['location']}/events")
    assert len(registry.model("iris").versions) == 1


async def test_events_from_the_first_to_the_last(owner: httpx.AsyncClient) -> None:
    location = (await owner.post(VERSIONS, content=b"model")).headers["location"]
    answer = await owner.get(f"{location}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = parse(answer.content)
    assert [event["event"] for event in events] == ["step"] * 4 + ["done"]
    assert [event.get("id") for event in events] == ["1", "2", "3", "4", None]
    steps = [msgspec.json.decode(event["data"], type=OperationEvent) for event in events[:-1]]
    assert [step.stage for step in steps] == ["detect", "commit", "load", "done"]
    operation = msgspec.json.decode(events[-1]["data"], type=Operation)
    assert operation.state == "succeeded"
    assert operation.events == tuple(steps)


@pytest.mark.parametrize(
    ("last", "ids"),
    [
        ("2", ["3", "4", None]),
        ("4", [None]),
        ("999999999999999999999", [None]),
        ("", ["1", "2", "3", "4", None]),
        ("-1", ["1", "2", "3", "4", None]),
        ("x", ["1", "2", "3", "4", None]),
    ],
)
async def test_events_go_on_where_a_listener_was(
    owner: httpx.AsyncClient, publish: Publish, last: str, ids: list[str | None]
) -> None:
    operation = await publish()
    answer = await owner.get(
        f"/api/operations/{operation['id']}/events", headers={"Last-Event-ID": last}
    )
    assert [event.get("id") for event in parse(answer.content)] == ids


async def test_silence_has_heartbeats_and_a_listener_may_leave(
    services: ApiServices, app: ASGIApp, owner: httpx.AsyncClient, pipeline: FakePipeline
) -> None:
    pipeline.go.clear()
    location = (await owner.post(VERSIONS, content=b"model")).headers["location"]
    heard = asyncio.Event()
    gone = asyncio.Event()
    body = b""

    async def receive() -> dict:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        nonlocal body
        body += message.get("body", b"")
        if b"\n\n: " in body or body.startswith(b": "):
            heard.set()

    path = f"{location}/events"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"x-api-key", b"the-key-of-the-owner")],
        "client": None,
        "server": None,
    }
    listening = asyncio.ensure_future(app(scope, receive, send))
    await heard.wait()
    gone.set()
    await listening
    pipeline.go.set()
    answer = await owner.get(path)
    assert parse(answer.content)[-1]["event"] == "done"


async def test_a_version_that_does_not_load(
    owner: httpx.AsyncClient, publish: Publish, deployments: FakeDeployments
) -> None:
    deployments.failures[ServableId("iris", 1)] = "out of memory"
    operation = await publish()
    assert operation["state"] == "failed"
    model = (await owner.get("/api/models/iris")).json()
    assert (model["state"], model["reason"]) == ("END", "out of memory")
