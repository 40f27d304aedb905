"""Unloading and loading a model, and what control answers when it is asked to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from maas.admin import models
from maas.admin.answers import Answers
from maas.admin.repository import load_model, unload_model
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.records import Operation
from maas.core.states import ServableState
from maas.core.statistics import VersionStatistics
from maas.registry import Registry
from maas.serving.messages import Counted, Done, LoadModel, Refused, StatisticsOf, UnloadModel
from maas.testing.deployments import FakeDeployments

Publish = Callable[..., Awaitable[Operation]]


async def test_what_is_done_for_each(
    publish: Publish, registry: Registry, deployments: FakeDeployments
) -> None:
    await publish()
    deployments.calls.clear()
    await unload_model(registry, deployments, "iris", 5)
    assert deployments.calls == ["gone iris:1", "applied"]
    record = await models.get_model(registry, deployments, "iris")
    assert (record.state, record.unloaded) == (ServableState.END, True)
    assert "it was unloaded; load it" in record.reason
    deployments.calls.clear()
    await load_model(registry, deployments, "iris", 5)
    assert deployments.calls == ["retry iris", "settled iris:1", "switched iris:1"]
    record = await models.get_model(registry, deployments, "iris")
    assert (record.state, record.unloaded, record.reason) == (ServableState.AVAILABLE, False, "")


async def test_an_unloading_that_takes_longer_goes_on(
    publish: Publish, registry: Registry, deployments: FakeDeployments
) -> None:
    await publish()
    deployments.stuck = True
    with pytest.raises(MaasError, match="takes no more calls") as caught:
        await unload_model(registry, deployments, "iris", 5)
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
    assert registry.model("iris").unloaded


async def test_every_question_has_an_answer(
    publish: Publish, registry: Registry, deployments: FakeDeployments
) -> None:
    await publish()
    waited: list[float] = []

    async def recount(timeout_s: float) -> None:
        waited.append(timeout_s)

    def statistics(servables: object) -> tuple[VersionStatistics, ...]:
        return tuple(VersionStatistics(one) for one in servables)  # type: ignore[attr-defined]

    versions = {ServableId("b", 1), ServableId("a", 2), ServableId("a", 1)}
    answers = Answers(registry, deployments, versions, recount, statistics)
    reply = await answers(StatisticsOf())
    assert isinstance(reply, Counted)
    assert [str(one.servable) for one in reply.versions] == ["a:1", "a:2", "b:1"]
    assert waited
    assert await answers(UnloadModel("iris", 5)) == Done()
    assert await answers(LoadModel("iris", 5)) == Done()
    reply = await answers(LoadModel("nobody", 5))
    assert isinstance(reply, Refused)
    assert reply.kind is ErrorKind.NOT_FOUND


async def test_a_failure_of_our_own_is_an_answer_too(
    registry: Registry, deployments: FakeDeployments
) -> None:
    async def recount(timeout_s: float) -> None:
        raise ZeroDivisionError

    answers = Answers(registry, deployments, (), recount, lambda servables: ())
    reply = await answers(StatisticsOf())
    assert isinstance(reply, Refused)
    assert reply.kind is ErrorKind.INTERNAL
