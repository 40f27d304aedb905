"""Crashes and time-outs: what comes back, what is moved, what is given up."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from maas_test_ground import Ground, servable

from maas.core.states import ServableState
from maas.serving.manager import SHARED
from maas.serving.messages import Lost, Overdue, Want
from maas.serving.recovery import LOAD_CRASHES

LOADING, AVAILABLE = ServableState.LOADING, ServableState.AVAILABLE
END = ServableState.END


@pytest.fixture
def ground(run: Path) -> Ground:
    return Ground(run, load_s=300.0)


@pytest.mark.parametrize("host", ["shared", "dedicated"])
async def test_a_host_that_dies_is_started_again_and_its_calls_wait(
    ground: Ground, host: str
) -> None:
    ground.publish("iris", 1, host=host, prod=1)
    await ground.settle()
    name = ground.host_of("iris", 1)
    ground.crash(name)
    await ground.manager.reconcile(ground.fleet)
    # The route stays: whoever calls now waits for the successor.
    assert ground.model("iris").default == 1
    assert ground.model("iris").aliases == {"prod": 1}
    assert ground.states("iris") == {1: LOADING}
    assert "killed by SIGSEGV" in ground.model("iris").versions[1].reason
    assert ground.plan.hosts[name].incarnation == 2
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE}
    assert ground.model("iris").versions[1].reason == ""
    assert [(spec.id, spec.incarnation) for spec in ground.fleet.started] == [(name, 1), (name, 2)]


@pytest.mark.parametrize("host", ["shared", "dedicated"])
async def test_no_plan_while_a_host_comes_back_is_without_the_version_that_serves(
    ground: Ground, host: str
) -> None:
    ground.publish("iris", 1, host=host, prod=1)
    await ground.settle()
    before = ground.manager.number
    ground.crash(ground.host_of("iris", 1))
    await ground.settle()
    later = [plan.models["iris"] for number, plan in ground.plans.items() if number > before]
    assert [model.default for model in later] == [1] * len(later)
    assert [model.aliases for model in later] == [{"prod": 1}] * len(later)
    assert ground.states("iris") == {1: AVAILABLE}


async def test_no_plan_while_a_version_moves_is_without_it(ground: Ground) -> None:
    ground.publish("bad", 1)
    await ground.settle()
    before = ground.manager.number
    for crash in (1, 2):
        ground.manager.on_lost(Lost(SHARED, crash, (("bad", 1),)))
    await ground.settle()
    later = [plan.models["bad"] for number, plan in ground.plans.items() if number > before]
    assert [model.default for model in later] == [1] * len(later)
    assert ground.host_of("bad", 1) != SHARED


async def test_crashes_that_a_version_survived_do_not_add_up(ground: Ground) -> None:
    """It was killed while it loaded, now and then, and loaded well every time after."""
    ground.publish("big", 1, host="dedicated")
    await ground.settle()
    for _ in range(2 * LOAD_CRASHES):
        for _ in range(2):  # while it serves, and again while it loads
            ground.crash(ground.host_of("big", 1))
            await ground.manager.reconcile(ground.fleet)
        await ground.settle()
        ground.now += 3600
        assert ground.states("big") == {1: AVAILABLE}


async def test_a_host_that_dies_after_a_long_life_comes_back_too(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.now += 24 * 3600
    ground.crash(SHARED)
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE}
    assert ground.model("iris").default == 1


async def test_one_that_dies_again_and_again_is_started_after_growing_waits(
    ground: Ground,
) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    waits = []
    for _ in range(8):
        ground.crash(SHARED)
        before = ground.now
        while SHARED not in ground.fleet.hosts:
            await ground.settle()
            if SHARED not in ground.fleet.hosts:
                ground.now += 0.05
        waits.append(ground.now - before)
        await ground.settle()
        assert ground.states("iris") == {1: AVAILABLE}
    assert waits[:2] == [0, 0]
    assert waits[-1] > 2
    assert all(later >= earlier for earlier, later in pairwise(waits))


async def test_other_hosts_go_on(ground: Ground) -> None:
    ground.publish("iris", 1)
    ground.publish("big", 1, host="dedicated")
    await ground.settle()
    ground.crash(ground.host_of("big", 1))
    await ground.manager.reconcile(ground.fleet)
    assert ground.states("iris") == {1: AVAILABLE}
    assert ground.states("big") == {1: LOADING}


async def test_in_flight_at_two_crashes_of_the_shared_host_means_a_host_of_its_own(
    ground: Ground,
) -> None:
    ground.publish("iris", 1)
    ground.publish("bad", 1)
    await ground.settle()
    for crash in (1, 2):
        ground.manager.on_lost(Lost(SHARED, crash, (("bad", 1),)))
        ground.crash(SHARED)
        await ground.settle()
        assert (ground.host_of("bad", 1) == SHARED) == (crash == 1)
    assert ground.host_of("iris", 1) == SHARED
    assert ground.states("bad") == ground.states("iris") == {1: AVAILABLE}
    assert ground.model("bad").default == 1
    assert ground.loaded() == {SHARED: {"iris:1"}, ground.host_of("bad", 1): {"bad:1"}}


async def test_the_move_waits_until_the_new_host_serves(ground: Ground) -> None:
    ground.publish("bad", 1)
    await ground.settle()
    for crash in (1, 2):
        ground.manager.on_lost(Lost(SHARED, crash, (("bad", 1),)))
    await ground.manager.reconcile(ground.fleet)
    assert ground.model("bad").default == 1
    await ground.settle()
    assert ground.host_of("bad", 1) != SHARED
    assert ground.model("bad").default == 1


async def test_one_crash_seen_by_two_connections_is_one(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.manager.on_lost(Lost(SHARED, 1, (("iris", 1),)))
    ground.manager.on_lost(Lost(SHARED, 1, (("iris", 1),)))
    ground.crash(SHARED)
    await ground.settle()
    assert ground.host_of("iris", 1) == SHARED


async def test_what_a_dedicated_host_had_in_flight_moves_nobody(ground: Ground) -> None:
    ground.publish("big", 1, host="dedicated")
    await ground.settle()
    host = ground.host_of("big", 1)
    for crash in (1, 2, 3):
        ground.manager.on_lost(Lost(host, crash, (("big", 1),)))
    ground.manager.on_lost(Lost("host-99", 1, (("big", 1),)))
    await ground.settle()
    assert ground.host_of("big", 1) == host


async def test_a_version_that_kills_the_shared_host_while_loading_is_moved(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.fleet.deadly.add(servable("bad:1"))
    ground.publish("bad", 1)
    while not ground.crashed:
        await ground.step()
    ground.fleet.deadly.clear()
    await ground.settle()
    assert ground.states("iris") == ground.states("bad") == {1: AVAILABLE}
    assert ground.host_of("iris", 1) == SHARED
    assert ground.host_of("bad", 1) not in ("", SHARED)
    assert ground.model("bad").default == 1


async def test_a_version_that_kills_its_own_host_while_loading_is_given_up(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.fleet.deadly.add(servable("iris:2"))
    ground.publish("iris", 1, 2, previous=1, host="dedicated")
    for _ in range(40):
        await ground.step()
        ground.now += 1
    assert ground.states("iris") == {1: AVAILABLE, 2: END}
    assert ground.model("iris").default == 1
    reason = ground.model("iris").versions[2].reason
    assert reason == "its process ended while loading it (killed by SIGSEGV)"
    dedicated = [spec for spec in ground.fleet.started if spec.id != SHARED]
    assert len(dedicated) == LOAD_CRASHES
    assert set(ground.plan.hosts) == {SHARED}


async def test_a_load_that_takes_too_long_is_given_up(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.fleet.slow.add(servable("iris:2"))
    ground.publish("iris", 1, 2, previous=1, host="dedicated")
    await ground.settle()
    ground.now += 299
    await ground.settle()
    assert ground.states("iris")[2] is LOADING
    ground.now += 2
    await ground.settle()
    assert ground.states("iris")[2] is END
    assert ground.model("iris").versions[2].reason == "it did not load within 300 s"
    assert ground.model("iris").default == 1
    assert set(ground.fleet.hosts) == {SHARED}


async def test_a_load_that_hangs_takes_nobody_with_it(ground: Ground) -> None:
    """Versions of the shared host load one after the other: who waits has not begun."""
    ground.fleet.slow.add(servable("a:1"))
    for name in ("a", "b", "c"):
        ground.publish(name, 1)
    await ground.settle()
    ground.now += 301
    await ground.settle()
    assert ground.states("a") == {1: END}
    assert ground.model("a").versions[1].reason == "it did not load within 300 s"
    assert ground.states("b") == ground.states("c") == {1: AVAILABLE}


async def test_a_version_that_was_given_up_leaves_no_host_behind(ground: Ground) -> None:
    ground.fleet.failures[servable("big:1")] = "the file is torn"
    ground.publish("big", 1, host="dedicated")
    await ground.settle()
    assert ground.states("big") == {1: END}
    assert ground.plan.hosts == {}
    assert ground.fleet.hosts == {}


async def test_a_host_that_hangs_is_killed_if_it_is_dedicated(ground: Ground) -> None:
    ground.publish("big", 1, host="dedicated")
    ground.publish("iris", 1)
    await ground.settle()
    host = ground.host_of("big", 1)
    await ground.manager.reconcile(ground.fleet)
    ground.manager._fleet = ground.fleet
    await ground.manager.on_overdue(Overdue(SHARED, 1, "iris", 1))
    await ground.manager.on_overdue(Overdue(host, 7, "big", 1))
    await ground.manager.on_overdue(Overdue("host-99", 1, "big", 1))
    assert not any(one.killed for one in ground.fleet.hosts.values())
    await ground.manager.on_overdue(Overdue(host, 1, "big", 1))
    assert ground.fleet.hosts[host].killed
    await ground.settle()
    assert ground.states("big") == {1: AVAILABLE}
    assert ground.plan.hosts[host].incarnation == 2


@pytest.mark.parametrize("host", ["shared", "dedicated"])
async def test_a_host_that_dies_while_it_unloads_has_unloaded(ground: Ground, host: str) -> None:
    ground.publish("iris", 1, 2, previous=1, host=host)
    ground.publish("other", 1)
    await ground.settle()
    name = ground.host_of("iris", 1)
    ground.acking = False
    ground.change("iris", previous_version=None)
    await ground.settle()
    ground.crash(name)
    ground.acking = True
    await ground.settle()
    assert ground.states("iris") == {1: END, 2: AVAILABLE}


async def test_a_host_that_dies_before_it_has_said_that_it_unloaded(ground: Ground) -> None:
    ground.publish("iris", 1, 2, previous=1)
    await ground.settle()
    ground.acking = False
    ground.change("iris", previous_version=None)
    await ground.settle()
    ground.acknowledged = ground.manager.number
    await ground.manager.reconcile(ground.fleet)  # it is told to unload
    ground.crash(SHARED)
    ground.acking = True
    await ground.settle()
    assert ground.states("iris") == {1: END, 2: AVAILABLE}
    ground.manager.on_want(Want("iris", 1))
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE, 2: AVAILABLE}


async def test_what_is_deleted_while_its_host_is_away_goes(ground: Ground) -> None:
    ground.publish("iris", 1)
    ground.publish("other", 1)
    await ground.settle()
    for _ in range(4):
        ground.crash(SHARED)
        ground.now += 1
        await ground.settle()
    ground.crash(SHARED)
    ground.delete("iris")
    await ground.settle()
    ground.now += 30
    await ground.settle()
    assert set(ground.plan.models) == {"other"}
    assert ground.loaded() == {SHARED: {"other:1"}}


async def test_what_is_deleted_while_its_dedicated_host_is_away_goes(ground: Ground) -> None:
    ground.publish("big", 1, host="dedicated")
    await ground.settle()
    for _ in range(4):
        ground.crash(ground.host_of("big", 1))
        ground.now += 1
        await ground.settle()
    ground.crash(ground.host_of("big", 1))
    ground.delete("big")
    await ground.settle()
    ground.now += 30
    await ground.settle()
    assert ground.plan.models == {}
    assert ground.fleet.hosts == {}


async def test_an_exit_of_what_is_no_host_counts_for_nothing(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.manager.on_exit("host-77", "exit status 1", False)
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE}


async def test_a_crash_of_the_empty_shared_host_starts_nothing(ground: Ground) -> None:
    ground.publish("iris", 1)
    await ground.settle()
    ground.delete("iris")
    await ground.settle()
    ground.crash(SHARED)
    await ground.settle()
    assert ground.fleet.hosts == {}
    ground.publish("iris", 1)
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE}
