from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from maas.admin import rollout
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.records import DeploymentRequest, Operation, PublishOptions
from maas.registry import Registry
from maas.testing.deployments import FakeDeployments

Publish = Callable[..., Awaitable[Operation]]


async def refused(doing: Awaitable[object]) -> MaasError:
    with pytest.raises(MaasError) as caught:
        await doing
    return caught.value


@pytest.fixture(autouse=True)
async def two(publish: Publish, deployments: FakeDeployments) -> None:
    await publish(content=b"one")
    await publish(content=b"two")
    deployments.calls.clear()


async def test_an_alias_waits_for_its_version(
    registry: Registry, deployments: FakeDeployments
) -> None:
    held = deployments.held[ServableId("iris", 1)] = asyncio.Event()
    setting = asyncio.create_task(
        rollout.set_alias(registry, deployments, "iris", "prod", 1, timeout_s=60)
    )
    await deployments.waiting.wait()
    assert registry.model("iris").aliases == {}
    held.set()
    assert (await setting).aliases == {"prod": 1}
    assert deployments.calls == ["settled iris:1", "applied"]


async def test_an_alias_stays_where_its_new_version_does_not_load(
    publish: Publish, registry: Registry, deployments: FakeDeployments
) -> None:
    await rollout.set_alias(registry, deployments, "iris", "prod", 2, 5)
    deployments.failures[ServableId("iris", 3)] = "it is corrupt"
    await publish(content=b"three", options=PublishOptions(promote=False))
    error = await refused(rollout.set_alias(registry, deployments, "iris", "prod", 3, 5))
    assert error.message == "it is corrupt"
    assert registry.model("iris").aliases == {"prod": 2}


@pytest.mark.parametrize(
    ("name", "alias", "version", "kind"),
    [
        ("iris", "prod", 9, ErrorKind.NOT_FOUND),
        ("iris", "prod", -1, ErrorKind.NOT_FOUND),
        ("iris", "prod", 2**70, ErrorKind.NOT_FOUND),
        ("nope", "prod", 1, ErrorKind.NOT_FOUND),
        ("iris", "../x", 1, ErrorKind.INVALID_ARGUMENT),
        ("iris", "12", 1, ErrorKind.INVALID_ARGUMENT),
    ],
)
async def test_aliases_that_cannot_be_set(
    registry: Registry,
    deployments: FakeDeployments,
    name: str,
    alias: str,
    version: int,
    kind: ErrorKind,
) -> None:
    error = await refused(rollout.set_alias(registry, deployments, name, alias, version, 5))
    assert error.kind is kind
    assert deployments.calls == []


async def test_a_deleted_alias_is_gone(registry: Registry, deployments: FakeDeployments) -> None:
    await rollout.set_alias(registry, deployments, "iris", "prod", 1, 5)
    record = await rollout.delete_alias(registry, deployments, "iris", "prod", 5)
    assert record.aliases == {}
    assert record.serving_version == 2
    error = await refused(rollout.delete_alias(registry, deployments, "iris", "prod", 5))
    assert error.kind is ErrorKind.NOT_FOUND


async def test_rollback_returns_when_calls_reach_what_served_before(
    registry: Registry, deployments: FakeDeployments
) -> None:
    record = await rollout.rollback(registry, deployments, "iris", 5)
    assert (record.default_version, record.serving_version) == (1, 1)
    assert deployments.calls == ["settled iris:1", "switched iris:1"]
    error = await refused(rollout.rollback(registry, deployments, "iris", 5))
    assert error.kind is ErrorKind.FAILED_PRECONDITION


async def test_deploy_sends_everything_to_one_version(
    registry: Registry, deployments: FakeDeployments
) -> None:
    request = DeploymentRequest({"1": 100, "2": 0})
    record = await rollout.deploy(registry, deployments, "iris", request, 5)
    assert record.serving_version == 1


@pytest.mark.parametrize(
    ("traffic", "kind"),
    [
        ({}, ErrorKind.INVALID_ARGUMENT),
        ({"1": 99}, ErrorKind.INVALID_ARGUMENT),
        ({"1": 150, "2": -50}, ErrorKind.INVALID_ARGUMENT),
        ({"x": 100}, ErrorKind.INVALID_ARGUMENT),
        ({"1": 90, "2": 10}, ErrorKind.UNIMPLEMENTED),
        ({"9": 100}, ErrorKind.NOT_FOUND),
    ],
)
async def test_deployments_that_cannot_be(
    registry: Registry, deployments: FakeDeployments, traffic: dict[str, int], kind: ErrorKind
) -> None:
    request = DeploymentRequest(traffic)
    error = await refused(rollout.deploy(registry, deployments, "iris", request, 5))
    assert error.kind is kind
    assert registry.model("iris").default_version == 2
