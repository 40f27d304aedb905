"""Rollouts: where calls go, and in which order things happen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from maas_test_ground import Ground, servable

from maas.core.states import ServableState
from maas.serving.manager import SHARED
from maas.serving.messages import Changed, Ready, Unloaded
from maas.serving.plan import EMPTY, SCHEMA

START, LOADING, AVAILABLE = ServableState.START, ServableState.LOADING, ServableState.AVAILABLE
UNLOADING, END = ServableState.UNLOADING, ServableState.END


@pytest.fixture
def ground(run: Path) -> Ground:
    return Ground(run)


async def test_with_an_empty_registry_there_is_a_plan_and_no_host(ground: Ground) -> None:
    await ground.settle()
    assert ground.manager.settled
    assert (ground.plan.schema, ground.plan.epoch, ground.plan.models) == (SCHEMA, "epoch", {})
    assert ground.fleet.started == []


async def test_what_is_published_is_loaded_and_serves(ground: Ground) -> None:
    ground.publish("iris", 1)
    ground.publish("digits", 1)
    await ground.settle()
    assert ground.model("iris").default == 1
    assert ground.states("iris") == {1: AVAILABLE}
    assert ground.loaded() == {SHARED: {"iris:1", "digits:1"}}
    assert ground.manager.settled
    assert ground.manager.serving == {"iris": 1, "digits": 1}
    version = ground.model("iris").versions[1]
    assert (version.path, version.entry) == ("/artifacts/iris-1", "model.bin")
    assert (version.runtime, version.platform) == ("onnx", "onnxruntime_onnx")


async def test_at_rest_no_plan_is_written(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    number = ground.manager.number
    for _ in range(5):
        assert not await ground.step()
    assert ground.manager.number == number


async def test_plans_are_numbered_and_told(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    assert list(ground.plans) == list(range(1, ground.manager.number + 1))
    assert all(plan.number == number for number, plan in ground.plans.items())
    assert ground.manager.changed() == Changed("epoch", ground.manager.number, 0)


async def test_a_version_of_its_own_host(ground: Ground) -> None:
    ground.publish("big", 1, host="dedicated")
    ground.publish("iris", 1)
    await ground.settle()
    assert sorted(ground.loaded().values(), key=str) == [{"big:1"}, {"iris:1"}]
    host = ground.plan.hosts[ground.host_of("big", 1)]
    assert host.dedicated
    assert host.holds == (("big", 1),)
    assert not ground.plan.hosts[SHARED].dedicated
    sockets = {host.socket for host in ground.plan.hosts.values()}
    assert len(sockets) == 2
    assert all(len(socket) < 108 for socket in sockets)


async def test_calls_go_to_a_version_only_once_every_ingress_knows_it(ground: Ground) -> None:
    ground.acking = False
    ground.publish("iris", 1)
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE}
    assert ground.model("iris").default is None
    assert not ground.manager.settled
    ground.acknowledged = ground.manager.number - 1
    await ground.settle()
    assert ground.model("iris").default is None
    ground.acknowledged = ground.manager.number
    await ground.settle()
    assert ground.model("iris").default == 1


async def test_without_ingresses_nobody_has_to_know(ground: Ground) -> None:
    ground.acking = False
    ground.acknowledged = None
    ground.publish("iris", 1)
    await ground.settle()
    assert ground.model("iris").default == 1


@pytest.mark.parametrize("host", ["shared", "dedicated"])
async def test_the_old_version_serves_until_the_new_one_is_known_to_all(
    ground: Ground, host: str
) -> None:
    ground.publish("iris", 1, host=host)
    await ground.settle()
    ground.fleet.slow.add(servable("iris:2"))
    ground.publish("iris", 1, 2, previous=1, host=host)
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE, 2: LOADING}
    assert ground.model("iris").default == 1

    ground.acking = False
    ground.fleet.slow.clear()
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE, 2: AVAILABLE}
    assert ground.model("iris").default == 1

    ground.acknowledged = ground.manager.number
    await ground.settle()
    assert ground.model("iris").default == 2
    assert ground.states("iris") == {1: AVAILABLE, 2: AVAILABLE}


@pytest.mark.parametrize("host", ["shared", "dedicated"])
async def test_a_version_is_unloaded_only_once_every_ingress_knows(
    ground: Ground, host: str
) -> None:
    ground.publish("iris", 1, 2, previous=1, host=host)
    await ground.settle()
    ground.acking = False
    ground.change("iris", previous_version=None)
    await ground.settle()
    # Nothing wants version 1 any more, but an ingress may still be sending it calls.
    assert ground.states("iris") == {1: UNLOADING, 2: AVAILABLE}
    assert set().union(*ground.loaded().values()) == {"iris:1", "iris:2"}
    assert ground.fleet.stopped == []
    ground.acking = True
    await ground.settle()
    assert ground.states("iris") == {1: END, 2: AVAILABLE}
    assert set().union(*ground.loaded().values()) == {"iris:2"}


async def test_nothing_is_dropped_where_what_serves_is_neither_default_nor_previous(
    ground: Ground,
) -> None:
    """Two versions deployed one after the other, before either is loaded."""
    ground.publish("iris", 1)
    await ground.settle()
    ground.fleet.slow.add(servable("iris:2"))
    ground.publish("iris", 1, 2, 3, default=2, previous=1)
    await ground.settle()
    ground.acking = False
    ground.change("iris", default_version=3, previous_version=2)
    ground.fleet.slow.clear()
    for _ in range(20):
        await ground.step()
        assert ground.model("iris").default in (1, 2, 3)
    ground.acking = True
    await ground.settle()
    assert ground.model("iris").default == 3
    assert ground.states("iris") == {1: END, 2: AVAILABLE, 3: AVAILABLE}


async def test_what_rollback_restores_stays_loaded(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.publish("iris", 1, 2, previous=1)
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE, 2: AVAILABLE}
    started = list(ground.fleet.started)
    ground.change("iris", default_version=1, previous_version=None)
    await ground.step()
    assert ground.model("iris").default == 1
    assert ground.fleet.started == started


@pytest.mark.parametrize("host", ["shared", "dedicated"])
async def test_a_version_that_fails_leaves_the_old_one_serving(ground: Ground, host: str) -> None:
    ground.publish("iris", 1, host=host)
    await ground.settle()
    ground.fleet.failures[servable("iris:2")] = "the file is torn"
    ground.publish("iris", 1, 2, previous=1, host=host)
    await ground.settle()
    assert ground.model("iris").default == 1
    assert ground.states("iris") == {1: AVAILABLE, 2: END}
    assert ground.model("iris").versions[2].reason == "the file is torn"
    assert set().union(*ground.loaded().values()) == {"iris:1"}


async def test_two_versions_that_fail_leave_the_old_one_serving(ground: Ground) -> None:
    """Deployed one after the other: what serves is then neither the default nor the previous."""
    ground.publish("iris", 1)
    await ground.settle()
    for version in (2, 3):
        ground.fleet.failures[servable(f"iris:{version}")] = "the file is torn"
        versions = range(1, version + 1)
        ground.publish("iris", *versions, previous=version - 1)
        await ground.settle()
    assert ground.model("iris").default == 1
    assert ground.states("iris") == {1: AVAILABLE, 2: END, 3: END}


async def test_after_a_start_what_rollback_would_restore_stands_in(ground: Ground) -> None:
    ground.fleet.failures[servable("iris:2")] = "the file is torn"
    ground.publish("iris", 1, 2, previous=1)
    await ground.settle()
    assert ground.model("iris").default == 1


async def test_a_version_that_failed_is_not_tried_again(ground: Ground) -> None:
    ground.fleet.failures[servable("iris:1")] = "the file is torn"
    ground.publish("iris", 1)
    await ground.settle()
    ground.fleet.failures.clear()
    ground.manager.registry_changed()
    await ground.settle()
    assert ground.states("iris") == {1: END}
    assert ground.model("iris").default is None


async def test_what_a_host_says_of_another_hosts_versions_counts_for_nothing(
    ground: Ground,
) -> None:
    ground.fleet.slow.add(servable("iris:1"))
    ground.publish("iris", 1)
    await ground.settle()
    ground.manager.on_ready("host-9", Ready("iris", 1, 0, 0.0))
    ground.manager.on_ready(SHARED, Ready("nobody", 1, 0, 0.0))
    ground.manager.on_unloaded(SHARED, Unloaded("iris", 1))
    await ground.settle()
    assert ground.states("iris") == {1: LOADING}


async def test_what_an_ingress_or_host_needs_is_in_the_first_plan(ground: Ground) -> None:
    """A host reads the plan as it starts: it must name the host by then."""
    ground.publish("iris", 1)
    await ground.manager.reconcile(ground.fleet)
    assert [spec.id for spec in ground.fleet.started] == [SHARED]
    assert SHARED in ground.plan.hosts
    assert EMPTY.models == {}


async def test_it_runs_by_itself(run: Path) -> None:
    ground = Ground(run)
    running = asyncio.create_task(ground.manager.run(ground.fleet))
    ground.publish("iris", 1)
    async with asyncio.timeout(5):
        while ground.manager.serving.get("iris") != 1:
            await ground.manager.progress.wait()
            ground.acknowledged = ground.manager.number
            if ground.fleet.work():
                ground.manager.acked()
    running.cancel()


async def test_a_registry_that_fails_once_does_not_end_it(run: Path) -> None:
    ground = Ground(run)
    broken = True
    artifact = ground.manager._catalogue.artifact

    def failing(name: str, version: int) -> object:
        nonlocal broken
        if broken:
            broken = False
            raise OSError("the disk is away")
        return artifact(name, version)

    ground.manager._catalogue.artifact = failing
    ground.publish("iris", 1)
    running = asyncio.create_task(ground.manager.run(ground.fleet))
    async with asyncio.timeout(5):
        while "iris" not in ground.manager.serving:
            ground.acknowledged = ground.manager.number
            ground.fleet.work()
            ground.manager.acked()
            await asyncio.sleep(0.01)
    running.cancel()
