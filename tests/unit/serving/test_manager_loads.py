"""Aliases, wishes and deletions: what is loaded, and what goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas_test_ground import Ground, servable

from maas.core.states import ServableState
from maas.serving.manager import SHARED, WANTED
from maas.serving.messages import Want

START, LOADING, AVAILABLE = ServableState.START, ServableState.LOADING, ServableState.AVAILABLE
UNLOADING, END = ServableState.UNLOADING, ServableState.END


@pytest.fixture
def ground(run: Path) -> Ground:
    return Ground(run)


async def test_aliases_only_name_what_is_loaded(ground: Ground) -> None:
    ground.publish("iris", 1, 2, default=1)
    await ground.settle()
    ground.fleet.slow.add(servable("iris:2"))
    ground.change("iris", aliases={"prod": 1, "next": 2})
    await ground.settle()
    assert ground.model("iris").aliases == {"prod": 1}
    ground.fleet.slow.clear()
    await ground.settle()
    assert ground.model("iris").aliases == {"prod": 1, "next": 2}


async def test_an_alias_of_a_version_that_fails_is_no_alias(ground: Ground) -> None:
    ground.fleet.failures[servable("iris:2")] = "the file is torn"
    ground.publish("iris", 1, 2, default=1, next=2)
    await ground.settle()
    assert ground.model("iris").aliases == {}


async def test_versions_that_callers_ask_for_are_loaded_and_the_oldest_wish_goes(
    ground: Ground,
) -> None:
    versions = range(1, WANTED + 3)
    ground.publish("iris", *versions)
    await ground.settle()
    default = versions[-1]
    for wanted in versions[:-1]:
        ground.manager.on_want(Want("iris", wanted))
        await ground.settle()
        assert ground.states("iris")[wanted] is AVAILABLE
    assert ground.states("iris") == {
        n: AVAILABLE if n == default or n > versions[-1] - 1 - WANTED else END for n in versions
    }
    assert ground.model("iris").default == default


@pytest.mark.parametrize("want", [Want("iris", 9), Want("nobody", 1)])
async def test_what_does_not_exist_is_not_loaded_for_the_asking(ground: Ground, want: Want) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.manager.on_want(want)
    await ground.settle()
    assert set(ground.plan.models) == {"iris"}
    assert ground.states("iris") == {1: AVAILABLE}


@pytest.mark.parametrize("host", ["shared", "dedicated"])
async def test_what_is_deleted_goes_once_every_ingress_knows(ground: Ground, host: str) -> None:
    ground.publish("iris", 1, host=host)
    ground.publish("other", 1)
    await ground.settle()
    ground.acking = False
    ground.delete("iris")
    await ground.settle()
    assert ground.model("iris").default is None
    assert ground.states("iris") == {1: UNLOADING}
    assert "iris:1" in set().union(*ground.loaded().values())
    ground.acking = True
    await ground.settle()
    assert set(ground.plan.models) == {"other"}
    assert set().union(*ground.loaded().values()) == {"other:1"}
    assert "iris" not in ground.manager.serving


async def test_a_dedicated_host_is_stopped_only_when_it_has_unloaded(ground: Ground) -> None:
    """SIGTERM ends it at once; what is in flight is answered by unloading, which it says."""
    ground.publish("big", 1, host="dedicated")
    await ground.settle()
    host = ground.host_of("big", 1)
    ground.delete("big")
    while ground.fleet.hosts[host].loaded:
        await ground.manager.reconcile(ground.fleet)
        assert ground.fleet.stopped == []
        ground.acknowledged = ground.manager.number
        ground.fleet.work()
    await ground.settle()
    assert ground.fleet.hosts == {}


async def test_a_host_of_its_own_ends_with_its_version(ground: Ground) -> None:
    ground.publish("big", 1, host="dedicated")
    await ground.settle()
    host = ground.host_of("big", 1)
    ground.delete("big")
    await ground.settle()
    assert host in ground.fleet.stopped
    assert host not in ground.fleet.hosts
    assert ground.plan.hosts == {}


async def test_a_dedicated_version_that_was_unloaded_can_be_loaded_again(ground: Ground) -> None:
    ground.publish("big", 1, 2, default=1, host="dedicated")
    await ground.settle()
    ground.change("big", default_version=2)
    await ground.settle()
    assert ground.states("big") == {1: END, 2: AVAILABLE}
    ground.change("big", default_version=1)
    await ground.settle()
    assert ground.model("big").default == 1
    assert ground.states("big") == {1: AVAILABLE, 2: END}


async def test_the_shared_host_stays_when_it_is_empty(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.delete("iris")
    await ground.settle()
    assert SHARED in ground.fleet.hosts
    ground.publish("iris", 1)
    await ground.settle()
    assert len(ground.fleet.started) == 1


async def test_what_is_deleted_while_it_loads_goes_when_it_is_loaded(ground: Ground) -> None:
    ground.fleet.slow.add(servable("iris:1"))
    ground.publish("iris", 1)
    await ground.settle()
    ground.delete("iris")
    await ground.settle()
    ground.fleet.slow.clear()
    await ground.settle()
    assert ground.plan.models == {}
    assert ground.loaded() == {SHARED: set()}


async def test_what_is_deleted_while_it_loads_is_gone_where_the_load_fails(ground: Ground) -> None:
    ground.fleet.slow.add(servable("iris:1"))
    ground.publish("iris", 1)
    await ground.settle()
    ground.delete("iris")
    await ground.settle()
    ground.fleet.failures[servable("iris:1")] = "the file is torn"
    ground.fleet.slow.clear()
    await ground.settle()
    assert ground.plan.models == {}


async def test_a_version_is_deleted_beside_one_that_stays(ground: Ground) -> None:
    ground.publish("iris", 1, 2, previous=1)
    await ground.settle()
    ground.publish("iris", 2)
    await ground.settle()
    assert ground.states("iris") == {2: AVAILABLE}
