from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from maas.admin.processes import read_logs
from maas.core.errors import ErrorKind, MaasError
from maas.core.records import Operation
from maas.registry import Registry
from maas.telemetry.logfiles import LogLine
from maas.testing.deployments import FakeDeployments


def line(message: str, model: str = "") -> LogLine:
    return LogLine("2026-01-01T00:00:00Z", "info", "host-1", message, model=model)


async def test_the_last_lines(registry: Registry, deployments: FakeDeployments) -> None:
    for number in range(5):
        deployments.write(line(str(number)))
    found = await read_logs(registry, deployments, None, 2, follow=False)
    assert [each.message async for each in found] == ["3", "4"]


async def test_a_models_lines(
    registry: Registry,
    deployments: FakeDeployments,
    publish: Callable[..., Awaitable[Operation]],
) -> None:
    await publish("iris")
    deployments.write(line("mine", "iris:1"))
    deployments.write(line("another's", "digits:1"))
    found = await read_logs(registry, deployments, "iris", 10, follow=False)
    assert [each.message async for each in found] == ["mine"]


async def test_following_misses_nothing(registry: Registry, deployments: FakeDeployments) -> None:
    deployments.write(line("past"))
    found = await read_logs(registry, deployments, None, 10, follow=True)
    assert (await anext(found)).message == "past"
    deployments.write(line("while the reader was away"))
    assert (await anext(found)).message == "while the reader was away"
    waiting = asyncio.ensure_future(anext(found))
    await asyncio.sleep(0)
    deployments.write(line("later"))
    assert (await waiting).message == "later"


@pytest.mark.parametrize("lines", [-1, 10_001])
async def test_too_many_lines(registry: Registry, deployments: FakeDeployments, lines: int) -> None:
    with pytest.raises(MaasError) as caught:
        await read_logs(registry, deployments, None, lines, follow=False)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


async def test_logs_of_nothing(registry: Registry, deployments: FakeDeployments) -> None:
    with pytest.raises(MaasError) as caught:
        await read_logs(registry, deployments, "nope", 1, follow=False)
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_logs_of_a_publish_that_failed(
    registry: Registry, deployments: FakeDeployments
) -> None:
    deployments.write(line("RuntimeError: boom", "nope"))
    found = await read_logs(registry, deployments, "nope", 10, follow=False)
    assert [each.message async for each in found] == ["RuntimeError: boom"]
    with pytest.raises(MaasError) as caught:
        await read_logs(registry, deployments, "a/b", 10, follow=False)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
