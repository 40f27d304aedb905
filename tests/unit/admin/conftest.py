from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maas.admin.jobs import Jobs, PublishRequest
from maas.admin.publishing import UploadBody, start_publish
from maas.core.messages import Principal
from maas.core.records import Operation, PublishOptions
from maas.registry import Registry
from maas.testing.deployments import FakeDeployments
from maas.testing.pipeline import FakePipeline

ANN = Principal("key_1", "ann", "publisher")

Publish = Callable[..., Awaitable[Operation]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    with Registry.open(home, lambda: datetime.now(UTC)) as registry:
        yield registry


@pytest.fixture
def deployments() -> FakeDeployments:
    return FakeDeployments()


@pytest.fixture
def pipeline(registry: Registry) -> FakePipeline:
    return FakePipeline(registry)


@pytest.fixture
async def jobs(
    registry: Registry, deployments: FakeDeployments, pipeline: FakePipeline
) -> AsyncIterator[Jobs]:
    jobs = Jobs(pipeline, registry, deployments, concurrent=2, load_s=5)
    yield jobs
    pipeline.go.set()
    await jobs.close()


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.fixture
def start(registry: Registry, jobs: Jobs) -> Publish:
    """Starts a job: `await start("iris", b"content", alias=("prod",))`."""

    async def start(
        name: str = "iris",
        content: bytes = b"model",
        *,
        key: str | None = None,
        principal: Principal = ANN,
        limit: int = 1 << 20,
        length: int | None = None,
        filename: str = "iris.onnx",
        chunks: AsyncIterator[bytes] | None = None,
        options: PublishOptions | None = None,
    ) -> Operation:
        body = UploadBody(chunks or stream(content), filename, False, length, limit)
        request = PublishRequest(name, options or PublishOptions(), principal, "request-1")
        return await start_publish(registry, jobs, request, body, key)

    return start


@pytest.fixture
def publish(start: Publish, jobs: Jobs) -> Publish:
    """Does the same and waits until the job has ended."""

    async def publish(*args: object, **kwargs: object) -> Operation:
        operation = await start(*args, **kwargs)
        reporter = jobs.operations.find(operation.id)
        async for _ in reporter.follow(0, heartbeat_s=60):
            pass
        return reporter.snapshot()

    return publish
