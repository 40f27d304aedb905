"""A host that says why it ends: its words stand in for its exit status, whichever comes first."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas_test_ground import Ground

from maas.serving.messages import Ending

WHY = "killed by SIGSEGV; its last line was: bye"


@pytest.fixture
def ground(run: Path) -> Ground:
    return Ground(run, load_s=300.0)


async def dead(ground: Ground, *, said_first: bool) -> str:
    """A host that has died in its first life and is not back yet; gives its id."""
    ground.publish("m", 1, host="dedicated")
    await ground.settle()
    name = ground.host_of("m", 1)
    ending = Ending(1, WHY)
    if said_first:
        ground.manager.on_ending(name, ending)
    ground.crash(name)
    if not said_first:
        ground.manager.on_ending(name, ending)
    await ground.manager.reconcile(ground.fleet)
    return name


@pytest.mark.parametrize("said_first", [True, False], ids=["said first", "exit first"])
async def test_its_words_are_the_reason(ground: Ground, said_first: bool) -> None:
    name = await dead(ground, said_first=said_first)
    assert ground.model("m").versions[1].reason == f"its process ended ({WHY})"
    assert ground.manager.hosts[name].last_exit == WHY
    await ground.settle()
    assert ground.model("m").versions[1].reason == ""


async def test_words_of_one_life_are_not_the_next_ones(ground: Ground) -> None:
    name = await dead(ground, said_first=True)
    await ground.settle()
    ground.crash(name)
    await ground.manager.reconcile(ground.fleet)
    assert WHY not in ground.model("m").versions[1].reason


async def test_words_that_come_after_two_lives_say_nothing(ground: Ground) -> None:
    name = await dead(ground, said_first=False)
    await ground.settle()
    ground.crash(name)
    ground.manager.on_ending(name, Ending(1, WHY))
    await ground.manager.reconcile(ground.fleet)
    assert WHY not in ground.model("m").versions[1].reason


async def test_words_of_a_host_nobody_knows(ground: Ground) -> None:
    ground.manager.on_ending("host-9", Ending(1, WHY))
    await ground.settle()
    assert "host-9" not in ground.manager.hosts
