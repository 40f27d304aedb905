from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from maas.admin.jobs import Jobs
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.messages import Principal
from maas.core.records import Operation, OperationState, PublishOptions
from maas.core.states import ServableState
from maas.registry import Registry
from maas.testing.deployments import FakeDeployments
from maas.testing.pipeline import FakePipeline

Publish = Callable[..., Awaitable[Operation]]


def staged(home: Path) -> list[Path]:
    return list((home / "staging").iterdir())


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def refused(publishing: Awaitable[Operation]) -> MaasError:
    with pytest.raises(MaasError) as caught:
        await publishing
    return caught.value


async def test_a_job_ends_when_calls_reach_the_version(
    publish: Publish, deployments: FakeDeployments, home: Path
) -> None:
    operation = await publish()
    assert operation.state is OperationState.SUCCEEDED
    assert operation.created
    assert operation.version is not None
    assert (operation.version.name, operation.version.version) == ("iris", 1)
    assert operation.version.state is ServableState.AVAILABLE
    assert operation.version.created_by == "ann"
    stages = [event.stage for event in operation.events]
    assert stages == ["detect", "commit", "load", "done"]
    assert operation.events[-1].message == "iris:1 answers calls"
    assert deployments.serving("iris") == 1
    assert staged(home) == []


async def test_an_alias_moves_after_its_version_is_loaded(
    publish: Publish, start: Publish, registry: Registry, deployments: FakeDeployments, jobs: Jobs
) -> None:
    await publish(content=b"one", options=PublishOptions(alias=("prod",)))
    held = deployments.held[ServableId("iris", 2)] = asyncio.Event()
    operation = await start(content=b"two", options=PublishOptions(alias=("prod", "beta")))
    reporter = jobs.operations.find(operation.id)
    async for event in reporter.follow(0, 60):
        if event is not None and event.stage == "load":
            break
    assert registry.model("iris").aliases == {"prod": 1}
    held.set()
    async for _ in reporter.follow(0, 60):
        pass
    assert registry.model("iris").aliases == {"prod": 2, "beta": 2}
    version = reporter.snapshot().version
    assert version is not None
    assert version.aliases == ("beta", "prod")


async def test_without_promote_the_old_version_serves_on(
    publish: Publish, deployments: FakeDeployments
) -> None:
    await publish(content=b"one")
    operation = await publish(content=b"two", options=PublishOptions(promote=False))
    assert operation.state is OperationState.SUCCEEDED
    assert ServableId("iris", 2) in deployments.available
    assert deployments.serving("iris") == 1


async def test_the_same_again_is_the_same_version(publish: Publish) -> None:
    first, second = await publish(), await publish()
    assert (first.created, second.created) == (True, False)
    assert first.version is not None
    assert second.version is not None
    assert first.version.version == second.version.version == 1


async def test_a_version_that_does_not_load_fails_the_job_and_the_old_one_serves(
    publish: Publish, deployments: FakeDeployments, registry: Registry
) -> None:
    await publish(content=b"one")
    deployments.failures[ServableId("iris", 2)] = "the operator Foo is unknown."
    operation = await publish(content=b"two", options=PublishOptions(alias=("prod",)))
    assert operation.state is OperationState.FAILED
    assert operation.error is not None
    assert operation.error.kind == "unavailable"
    assert operation.error.message == (
        "iris:2 is stored but does not serve: the operator Foo is unknown; "
        "iris:1 still answers its calls"
    )
    assert operation.error.request_id == "request-1"
    assert operation.version is not None
    assert operation.version.version == 2
    assert registry.version("iris", 2).version == 2
    assert registry.model("iris").aliases == {}
    assert deployments.serving("iris") == 1


async def test_a_first_version_that_does_not_load(
    publish: Publish, deployments: FakeDeployments
) -> None:
    deployments.failures[ServableId("iris", 1)] = "out of memory"
    operation = await publish()
    assert operation.error is not None
    assert operation.error.message.endswith("out of memory; no version of iris serves now")


async def test_a_refused_model_leaves_nothing(
    publish: Publish, registry: Registry, home: Path
) -> None:
    operation = await publish(content=b"bad model")
    assert operation.state is OperationState.FAILED
    assert operation.error is not None
    assert operation.error.kind == "invalid_argument"
    assert operation.events[-1].stage == "failed"
    assert operation.version is None
    assert registry.models().models == ()
    assert staged(home) == []


async def test_an_unexpected_error_tells_no_secrets(
    publish: Publish, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        operation = await publish(content=b"crash")
    assert operation.error is not None
    assert operation.error.kind == "internal"
    assert str(home) not in str(operation)
    assert "RuntimeError" in caplog.text
    assert staged(home) == []


async def test_jobs_run_so_many_at_once_and_the_rest_wait(
    start: Publish, jobs: Jobs, pipeline: FakePipeline, registry: Registry
) -> None:
    pipeline.go.clear()
    operations = [await start(content=b"%d" % number) for number in range(6)]
    for operation in operations[:2]:
        await anext(jobs.operations.find(operation.id).follow(0, 60))
    assert pipeline.running == 2
    pipeline.go.set()
    for operation in operations:
        async for _ in jobs.operations.find(operation.id).follow(0, 60):
            pass
    assert pipeline.most == 2
    assert [version.version for version in registry.model("iris").versions] == [6, 5, 4, 3, 2, 1]


async def test_an_idempotency_key_starts_one_job(
    start: Publish, publish: Publish, registry: Registry
) -> None:
    first = await publish(key="k")
    second = await start(key="k")
    assert second == first
    assert (await refused(start(name="other", key="k"))).kind is ErrorKind.ALREADY_EXISTS
    other = await publish(key="k", principal=Principal("key_2", "bob", "publisher"))
    assert other.id != first.id
    assert len(registry.model("iris").versions) == 1


async def test_a_failed_upload_gives_its_idempotency_key_back(start: Publish) -> None:
    error = await refused(start(content=b"x" * 20, limit=10, key="k"))
    assert error.kind is ErrorKind.TOO_LARGE
    assert (await start(content=b"x" * 20, key="k")).model == "iris"


async def test_a_key_whose_operation_is_forgotten_begins_anew(publish: Publish, jobs: Jobs) -> None:
    first = await publish(key="k")
    jobs.operations.forget(jobs.operations.find(first.id))
    second = await publish(key="k")
    assert second.id != first.id
    assert second.state is OperationState.SUCCEEDED


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"name": "../x"}, ErrorKind.INVALID_ARGUMENT),
        ({"name": "api"}, ErrorKind.INVALID_ARGUMENT),
        ({"name": " iris"}, ErrorKind.INVALID_ARGUMENT),
        ({"filename": "../x"}, ErrorKind.INVALID_ARGUMENT),
        ({"options": PublishOptions(accuracy=1.5)}, ErrorKind.INVALID_ARGUMENT),
        ({"options": PublishOptions(metrics={"a": float("nan")})}, ErrorKind.INVALID_ARGUMENT),
        ({"options": PublishOptions(alias=("1",))}, ErrorKind.INVALID_ARGUMENT),
        ({"length": 2, "limit": 1}, ErrorKind.TOO_LARGE),
    ],
)
async def test_what_can_be_refused_is_refused_before_the_body_is_read(
    start: Publish, arguments: dict[str, object], kind: ErrorKind, home: Path
) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    assert (await refused(start(chunks=untouched(), **arguments))).kind is kind
    assert staged(home) == []


async def test_a_client_that_goes_away_leaves_nothing(
    start: Publish, jobs: Jobs, home: Path
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 100
        raise MaasError(ErrorKind.CANCELLED, "gone")

    for _ in range(70):
        assert (await refused(start(chunks=broken()))).kind is ErrorKind.CANCELLED
    assert staged(home) == []
    assert (await start()).state is OperationState.RUNNING


@pytest.mark.parametrize("filename", ["artifact", "original", "upload", "model"])
async def test_an_upload_lies_apart_from_what_the_pipeline_writes(
    start: Publish, home: Path, pipeline: FakePipeline, filename: str
) -> None:
    pipeline.go.clear()
    await start(filename=filename)
    (folder,) = staged(home)
    assert [str(path.relative_to(folder)) for path in files(folder)] == [f"upload/{filename}"]


async def test_closing_fails_what_waits(start: Publish, jobs: Jobs, pipeline: FakePipeline) -> None:
    pipeline.go.clear()
    operation = await start()
    await asyncio.sleep(0)
    closing = asyncio.create_task(jobs.close())
    await closing
    pipeline.go.set()
    ended = jobs.operations.find(operation.id).snapshot()
    assert ended.state is OperationState.FAILED
    assert ended.error is not None
    assert ended.error.kind == "cancelled"
