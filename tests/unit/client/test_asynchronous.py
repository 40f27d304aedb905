from __future__ import annotations

import asyncio
import inspect
import os
from pathlib import Path

import pandas as pd
import pytest
from maas_stub_server import KEY, Stub, make_version, untar
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maas.client import ApiError, AsyncClient, Client, ServerUnreachable
from maas.core.errors import ErrorKind
from maas.core.records import OperationEvent

ROW = [5.1, 3.5, 1.4, 0.2]


def test_it_has_the_methods_of_the_blocking_client() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            other = getattr(AsyncClient, name)
            assert list(inspect.signature(method).parameters.values()) == list(
                inspect.signature(other).parameters.values()
            ), name
            assert method.__doc__ == other.__doc__, name


async def test_every_method_over_a_socket(stub: Stub) -> None:
    async with AsyncClient(stub.url, KEY) as client:
        assert (await client.info()).front == "envoy"
        assert await client.ready()
        assert [model.name for model in await client.models()] == ["iris"]
        assert (await client.model("iris")).serving_version == 2
        assert (await client.version("iris", 2)).report.engine == "onnx"
        assert (await client.alias("iris", "prod", 2)).name == "iris"
        assert (await client.delete_alias("iris", "prod")).name == "iris"
        assert (await client.rollback("iris")).default_version == 1
        assert (await client.deploy("iris", {2: 100})).name == "iris"
        assert (await client.patch("iris", 2, description="d")).version == 2
        await client.delete("iris", 2)
        assert (await client.processes())[0].models == ("iris:2",)
        assert (await client.imports())[0].state == "imported"
        assert (await client.create_key("anna")).key == "maas_new"
        assert (await client.keys())[0].name == "anna"
        assert (await client.revoke_key("k1")).id == "k1"
        assert [line.message async for line in client.logs("iris")] == ["花", "\x1b[31mred"]
        assert (await client.metadata("iris")).inputs[0].name == "x"


async def test_predictions_beside_each_other(stub: Stub) -> None:
    async with AsyncClient(stub.url, KEY) as client:
        answers = await asyncio.gather(*(client.predict("iris", [ROW]) for _ in range(8)))
    assert [answer["label"].tolist() for answer in answers] == [[0]] * 8


async def test_an_object_is_published_as_the_file_it_is_saved_as(stub: Stub) -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit([[1], [2]], [0, 1])
    for publish in (_publish_async, _publish_blocking):
        await publish(stub, pipeline)
        files = untar(stub.last("POST").body)
        assert set(files) == {"model/iris.skops", "sample/sample.npz"}
        assert files["model/iris.skops"].startswith(b"PK")


async def _publish_async(stub: Stub, thing: object) -> None:
    async with AsyncClient(stub.url, KEY) as client:
        await client.publish(thing, "iris", sample=pd.DataFrame({"a": [1, 2]}))


async def _publish_blocking(stub: Stub, thing: object) -> None:
    with Client(stub.url, KEY) as client:
        await asyncio.to_thread(client.publish, thing, "iris", sample=pd.DataFrame({"a": [1, 2]}))


async def test_publish(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(os.urandom(700_000))
    steps: list[OperationEvent] = []
    async with AsyncClient(stub.url, KEY) as client:
        version = await client.publish(file, "iris", sample=[ROW], progress=steps.append)
    assert version == make_version("iris", 2)
    assert untar(stub.last("POST").body)["model/a.onnx"] == file.read_bytes()
    assert [step.stage for step in steps] == ["upload", "detect", "prove"]


async def test_errors(stub: Stub) -> None:
    async with AsyncClient(stub.url, "maas_wrong") as client:
        with pytest.raises(ApiError) as caught:
            await client.models()
        assert caught.value.kind is ErrorKind.UNAUTHENTICATED
        with pytest.raises(ApiError):
            [line async for line in client.logs()]
    stub.close()
    async with AsyncClient(stub.url, KEY) as client:
        assert not await client.ready()
        with pytest.raises(ServerUnreachable):
            await client.models()
