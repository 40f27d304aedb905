from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import msgspec
import pytest

from maas.core.identity import ServableId
from maas.core.records import (
    ModelRecord,
    Operation,
    Page,
    ProcessRecord,
    ServerInfo,
    VersionRecord,
)
from maas.telemetry.logfiles import LogLine
from maas.testing.deployments import INFO, FakeDeployments

Publish = Callable[..., Awaitable[dict[str, object]]]


async def test_the_server(clients: dict[str, httpx.AsyncClient]) -> None:
    answer = await clients["caller"].get("/api")
    assert msgspec.json.decode(answer.content, type=ServerInfo) == INFO


async def test_models_in_pages(owner: httpx.AsyncClient, publish: Publish) -> None:
    assert (await owner.get("/api/models")).json() == {"models": [], "cursor": None}
    for name in ("b", "a", "鸢尾花"):
        await publish(name)
    answer = await owner.get("/api/models", params={"limit": 2})
    page = msgspec.json.decode(answer.content, type=Page)
    assert [model.name for model in page.models] == ["a", "b"]
    answer = await owner.get("/api/models", params={"limit": 2, "cursor": page.cursor})
    assert "鸢尾花".encode() in answer.content
    assert answer.json()["cursor"] is None


async def test_a_model_with_a_chinese_name(owner: httpx.AsyncClient, publish: Publish) -> None:
    await publish("鸢尾花", description='<script>alert("1")</script>')
    answer = await owner.get("/api/models/鸢尾花")
    record = msgspec.json.decode(answer.content, type=ModelRecord)
    assert (record.name, record.serving_version) == ("鸢尾花", 1)
    assert record.versions[0].description == '<script>alert("1")</script>'
    assert answer.headers["content-type"] == "application/json"


async def test_versions(owner: httpx.AsyncClient, publish: Publish) -> None:
    await publish(content=b"one")
    await publish(content=b"two")
    listed = (await owner.get("/api/models/iris/versions")).json()
    assert [version["version"] for version in listed["versions"]] == [2, 1]
    answer = await owner.get("/api/models/iris/versions/1")
    assert msgspec.json.decode(answer.content, type=VersionRecord).state == "AVAILABLE"
    answer = await owner.patch(
        "/api/models/iris/versions/1", json={"description": "新的", "accuracy": 0.5}
    )
    assert answer.status_code == 200
    assert (answer.json()["description"], answer.json()["accuracy"]) == ("新的", 0.5)
    answer = await owner.patch("/api/models/iris/versions/1", json={"accuracy": 1.5})
    assert answer.status_code == 400
    answer = await owner.delete("/api/models/iris/versions/1")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await owner.get("/api/models/iris/versions/1")).status_code == 404


async def test_aliases(owner: httpx.AsyncClient, publish: Publish) -> None:
    await publish()
    answer = await owner.put("/api/models/iris/aliases/prod", json={"version": 1})
    assert answer.status_code == 200
    assert answer.json()["aliases"] == {"prod": 1}
    answer = await owner.put("/api/models/iris/aliases/prod", json={"version": 7})
    assert answer.status_code == 404
    answer = await owner.delete("/api/models/iris/versions/1")
    assert answer.status_code == 400
    assert answer.json()["error"]["kind"] == "failed_precondition"
    answer = await owner.delete("/api/models/iris/aliases/prod")
    assert answer.json()["aliases"] == {}
    assert (await owner.delete("/api/models/iris/aliases/prod")).status_code == 404


async def test_an_alias_to_what_does_not_load(
    owner: httpx.AsyncClient, publish: Publish, deployments: FakeDeployments
) -> None:
    deployments.failures[ServableId("iris", 1)] = "it is corrupt"
    await publish()
    answer = await owner.put("/api/models/iris/aliases/prod", json={"version": 1})
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "it is corrupt"


async def test_rollback_and_deploy(owner: httpx.AsyncClient, publish: Publish) -> None:
    await publish(content=b"one")
    answer = await owner.post("/api/models/iris/rollback")
    assert answer.json()["error"]["kind"] == "failed_precondition"
    await publish(content=b"two")
    answer = await owner.post("/api/models/iris/rollback")
    assert answer.status_code == 200
    assert answer.json()["serving_version"] == 1
    answer = await owner.put("/api/deployments/iris", json={"traffic": {"2": 100}})
    assert answer.json()["serving_version"] == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"traffic": {"1": 90, "2": 10}}, 501),
        ({"traffic": {"1": 100}, "shadow": 5}, 501),
        ({"traffic": {"1": 90}}, 400),
        ({"traffic": {}}, 400),
        ({"traffic": {"1": "all"}}, 400),
        ({"traffic": {"9": 100}}, 404),
        ({"traffic": [100]}, 400),
    ],
)
async def test_deployments_that_cannot_be(
    owner: httpx.AsyncClient, publish: Publish, body: dict[str, object], status: int
) -> None:
    await publish()
    answer = await owner.put("/api/deployments/iris", json=body)
    assert answer.status_code == status


async def test_a_deleted_model(owner: httpx.AsyncClient, publish: Publish) -> None:
    await publish()
    assert (await owner.delete("/api/models/iris")).status_code == 204
    assert (await owner.get("/api/models/iris")).status_code == 404
    assert (await owner.delete("/api/models/iris")).status_code == 404


async def test_processes_and_logs(
    owner: httpx.AsyncClient, publish: Publish, deployments: FakeDeployments
) -> None:
    process = ProcessRecord("host-1", "host", 7, "running", ("iris:1",), 1, 0.5, "t", 0)
    deployments.running = (process,)
    answer = await owner.get("/api/processes")
    found = msgspec.convert(answer.json()["processes"], list[ProcessRecord])
    assert found == [process]
    await publish()
    first = LogLine("t", "info", "host-1", "一\n二", model="iris:1")
    second = LogLine("t", "info", "control", "b")
    deployments.write(first)
    deployments.write(second)
    answer = await owner.get("/api/logs", params={"lines": 10})
    assert answer.headers["content-type"] == "application/x-ndjson"
    decode = msgspec.json.Decoder(LogLine).decode
    assert [decode(line) for line in answer.content.splitlines()] == [first, second]
    answer = await owner.get("/api/models/iris/logs", params={"lines": 10})
    assert [decode(line) for line in answer.content.splitlines()] == [first]
    assert (await owner.get("/api/models/nope/logs")).status_code == 404


async def test_an_operation_reads_back(owner: httpx.AsyncClient, publish: Publish) -> None:
    operation = msgspec.convert(await publish(), Operation)
    assert operation.version is not None
    answer = await owner.get(f"/api/operations/{operation.id}")
    assert msgspec.json.decode(answer.content, type=Operation) == operation
