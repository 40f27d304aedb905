from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from maas.admin.pointing import point
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.records import Operation, PublishOptions
from maas.registry import Registry
from maas.testing.deployments import FakeDeployments

Publish = Callable[..., Awaitable[Operation]]


@pytest.fixture(autouse=True)
async def two(publish: Publish, deployments: FakeDeployments, registry: Registry) -> None:
    await publish(content=b"one")
    await publish(content=b"two", options=PublishOptions(promote=False))
    registry.set_alias("iris", "prod", 1)
    deployments.calls.clear()


async def test_a_default_and_aliases_no_more_and_no_fewer(
    registry: Registry, deployments: FakeDeployments
) -> None:
    await point(registry, deployments, "iris", 2, {"canary": 2, "old": 1}, 5)
    record = registry.model("iris")
    assert (record.default_version, record.aliases) == (2, {"canary": 2, "old": 1})
    assert "switched iris:2" in deployments.calls


async def test_the_default_may_stay(registry: Registry, deployments: FakeDeployments) -> None:
    await point(registry, deployments, "iris", 1, {"prod": 1}, 5)
    record = registry.model("iris")
    assert (record.default_version, record.aliases) == (1, {"prod": 1})


async def test_an_unloaded_model_is_loaded(
    registry: Registry, deployments: FakeDeployments
) -> None:
    registry.unload("iris")
    await point(registry, deployments, "iris", 1, {}, 5)
    record = registry.model("iris")
    assert (record.unloaded, record.aliases) == (False, {})


async def test_an_alias_stays_where_its_new_version_does_not_load(
    registry: Registry, deployments: FakeDeployments
) -> None:
    deployments.held[ServableId("iris", 2)] = asyncio.Event()
    with pytest.raises(MaasError) as caught:
        await point(registry, deployments, "iris", 1, {"prod": 2}, 0.2)
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
    assert registry.model("iris").aliases == {"prod": 1}


@pytest.mark.parametrize(("name", "version"), [("nobody", 0), ("nobody", 1), ("iris", 9)])
async def test_what_is_not_there(
    registry: Registry, deployments: FakeDeployments, name: str, version: int
) -> None:
    with pytest.raises(MaasError) as caught:
        await point(registry, deployments, name, version, {}, 5)
    assert caught.value.kind is ErrorKind.NOT_FOUND
