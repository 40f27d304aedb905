"""Versions that a watched folder holds loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas_test_ground import Ground

from maas.core.states import ServableState

AVAILABLE, END = ServableState.AVAILABLE, ServableState.END


@pytest.fixture
def ground(run: Path) -> Ground:
    return Ground(run)


async def test_what_is_held_is_loaded_and_goes_when_it_is_let_go(ground: Ground) -> None:
    ground.held["iris"] = frozenset({1, 2, 9})
    ground.publish("iris", 1, 2, 3)
    await ground.settle()
    assert ground.states("iris") == {1: AVAILABLE, 2: AVAILABLE, 3: AVAILABLE}
    ground.held["iris"] = frozenset({2})
    ground.manager.registry_changed()
    await ground.settle()
    assert ground.states("iris") == {1: END, 2: AVAILABLE, 3: AVAILABLE}
    assert ground.model("iris").default == 3
