from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from maas.admin import models
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.records import ModelRecord, Operation, PublishOptions, VersionPatch
from maas.core.states import ServableState
from maas.registry import Registry
from maas.testing.deployments import FakeDeployments

Publish = Callable[..., Awaitable[Operation]]


def artifacts(home: Path) -> int:
    return len(list((home / "artifacts").glob("*/*")))


async def refused(doing: Awaitable[object]) -> MaasError:
    with pytest.raises(MaasError) as caught:
        await doing
    return caught.value


@pytest.fixture
async def two(publish: Publish, registry: Registry, deployments: FakeDeployments) -> ModelRecord:
    await publish(content=b"one")
    await publish(content=b"two")
    return await models.get_model(registry, deployments, "iris")


async def test_a_model_shows_what_is_loaded(two: ModelRecord) -> None:
    assert (two.default_version, two.serving_version, two.previous_version) == (2, 2, 1)
    assert (two.state, two.reason) == (ServableState.AVAILABLE, "")
    assert [(v.version, v.state, v.process) for v in two.versions] == [
        (2, ServableState.AVAILABLE, "host-1"),
        (1, ServableState.AVAILABLE, "host-1"),
    ]


async def test_a_failed_rollout_shows_its_reason_beside_what_serves(
    two: ModelRecord, publish: Publish, registry: Registry, deployments: FakeDeployments
) -> None:
    deployments.failures[ServableId("iris", 3)] = "it is corrupt"
    await publish(content=b"three")
    record = await models.get_model(registry, deployments, "iris")
    assert (record.default_version, record.serving_version) == (3, 2)
    assert (record.state, record.reason) == (ServableState.AVAILABLE, "it is corrupt")
    assert record.versions[0].reason == "it is corrupt"


async def test_a_model_without_a_default_is_at_its_end(
    publish: Publish, registry: Registry, deployments: FakeDeployments
) -> None:
    await publish(options=PublishOptions(promote=False))
    record = await models.get_model(registry, deployments, "iris")
    assert (record.default_version, record.serving_version) == (None, None)
    assert record.state is ServableState.END


async def test_pages(publish: Publish, registry: Registry, deployments: FakeDeployments) -> None:
    for name in ("a", "鸢尾", "b"):
        await publish(name)
    page = await models.list_models(registry, deployments, 2, None)
    assert [model.name for model in page.models] == ["a", "b"]
    rest = await models.list_models(registry, deployments, 2, page.cursor)
    assert [model.name for model in rest.models] == ["鸢尾"]
    assert rest.cursor is None
    assert rest.models[0].serving_version == 1
    error = await refused(models.list_models(registry, deployments, 0, None))
    assert error.kind is ErrorKind.INVALID_ARGUMENT


async def test_a_patch_changes_what_is_said(
    two: ModelRecord, registry: Registry, deployments: FakeDeployments
) -> None:
    patch = VersionPatch(description="<b>新</b>", tags={"team": "a"})
    record = await models.patch_version(registry, deployments, "iris", 1, patch)
    assert (record.description, record.tags) == ("<b>新</b>", {"team": "a"})
    assert record.state is ServableState.AVAILABLE
    assert await models.get_version(registry, deployments, "iris", 1) == record


async def test_a_deleted_version_is_unloaded_and_its_files_are_gone(
    two: ModelRecord, registry: Registry, deployments: FakeDeployments, home: Path
) -> None:
    assert artifacts(home) == 2
    await models.delete_version(registry, deployments, "iris", 1, 5)
    assert artifacts(home) == 1
    assert ServableId("iris", 1) not in deployments.available
    error = await refused(models.get_version(registry, deployments, "iris", 1))
    assert error.kind is ErrorKind.NOT_FOUND


async def test_files_stay_while_calls_are_in_flight(
    two: ModelRecord, registry: Registry, deployments: FakeDeployments, home: Path
) -> None:
    deployments.stuck = True
    await models.delete_version(registry, deployments, "iris", 1, 5)
    assert artifacts(home) == 2
    deployments.stuck = False
    await models.delete_model(registry, deployments, "iris", 5)
    assert artifacts(home) == 0


async def test_a_version_with_an_alias_is_not_deleted(
    publish: Publish, registry: Registry, deployments: FakeDeployments, home: Path
) -> None:
    await publish(options=PublishOptions(alias=("prod",)))
    deployments.calls.clear()
    error = await refused(models.delete_version(registry, deployments, "iris", 1, 5))
    assert error.kind is ErrorKind.FAILED_PRECONDITION
    assert deployments.calls == []
    assert artifacts(home) == 1


async def test_a_deleted_model_is_gone_and_its_numbers_are_not_reused(
    two: ModelRecord,
    publish: Publish,
    registry: Registry,
    deployments: FakeDeployments,
    home: Path,
) -> None:
    await models.delete_model(registry, deployments, "iris", 5)
    assert artifacts(home) == 0
    assert deployments.available == set()
    error = await refused(models.get_model(registry, deployments, "iris"))
    assert error.kind is ErrorKind.NOT_FOUND
    operation = await publish()
    assert operation.version is not None
    assert operation.version.version == 3
