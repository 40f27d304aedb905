from __future__ import annotations

from itertools import product

import msgspec
import pytest

from maas.core.records import ModelRecord, VersionRecord
from maas.core.states import ServableState
from maas.serving.policy import (
    Load,
    Unload,
    VersionSnapshot,
    aspired_versions,
    next_action,
    serving_version,
)
from maas.testing.pipeline import REPORT, SIGNATURE

START, LOADING, AVAILABLE = ServableState.START, ServableState.LOADING, ServableState.AVAILABLE
UNLOADING, END = ServableState.UNLOADING, ServableState.END


def snapshot(version: int, state: ServableState, word: str = "") -> VersionSnapshot:
    """`snapshot(1, END, "aspired serving")`."""
    words = word.split()
    return VersionSnapshot(
        version, state, "aspired" in words, "serving" in words, "failed" in words
    )


def model(default: int | None, previous: int | None = None, **aliases: int) -> ModelRecord:
    versions = tuple(
        VersionRecord("m", n, "sha256:0", "2026-01-01T00:00:00Z", "ann", {"s": SIGNATURE}, REPORT)
        for n in (3, 2, 1)
    )
    return ModelRecord("m", "2026-01-01T00:00:00Z", default, None, previous, aliases, versions)


@pytest.mark.parametrize("state", [START, END])
def test_what_is_aspired_is_loaded(state: ServableState) -> None:
    assert next_action([snapshot(1, state, "aspired")]) == Load(1)


@pytest.mark.parametrize("state", [START, END])
def test_what_failed_is_not_tried_again_by_itself(state: ServableState) -> None:
    assert next_action([snapshot(1, state, "aspired failed")]) is None


def test_what_nobody_wants_goes() -> None:
    assert next_action([snapshot(1, AVAILABLE)]) == Unload(1)


def test_what_serves_is_never_unloaded() -> None:
    """What was deleted serves no longer: the route goes first."""
    assert next_action([snapshot(1, AVAILABLE, "serving")]) is None


@pytest.mark.parametrize("state", [START, LOADING, UNLOADING, END])
def test_only_what_is_available_is_unloaded(state: ServableState) -> None:
    assert next_action([snapshot(1, state)]) is None


@pytest.mark.parametrize("state", [LOADING, UNLOADING])
def test_the_version_that_serves_stays_while_another_is_on_its_way(state: ServableState) -> None:
    old = snapshot(1, AVAILABLE, "serving")
    assert next_action([old, snapshot(2, state, "aspired")]) is None


def test_the_new_version_is_loaded_before_the_old_one_goes() -> None:
    old = snapshot(1, AVAILABLE, "serving")
    assert next_action([old, snapshot(2, END, "aspired")]) == Load(2)
    assert next_action([snapshot(2, END, "aspired"), old]) == Load(2)


def test_the_old_version_goes_once_the_new_one_serves() -> None:
    new = snapshot(2, AVAILABLE, "aspired serving")
    assert next_action([snapshot(1, AVAILABLE), new]) == Unload(1)


def test_a_version_without_traffic_goes_while_another_loads() -> None:
    assert next_action([snapshot(1, AVAILABLE), snapshot(2, LOADING, "aspired")]) == Unload(1)


def test_when_all_is_well_there_is_nothing_to_do() -> None:
    assert next_action([snapshot(1, AVAILABLE, "aspired serving"), snapshot(2, END)]) is None
    assert next_action([]) is None


WORDS = ["", "aspired", "aspired failed"]
ONES = [(state, word) for state in ServableState for word in WORDS]


@pytest.mark.parametrize("serving", [None, 0, 1])
def test_no_state_of_two_versions_breaks_the_rules(serving: int | None) -> None:
    """Every pair of states: at most one thing to do, and never one that costs traffic."""
    for pair in product(ONES, ONES):
        versions = [
            snapshot(index, state, word + (" serving" if index == serving else ""))
            for index, (state, word) in enumerate(pair)
        ]
        action = next_action(versions)
        if action is None:
            assert not any(
                one.aspired and not one.failed and one.state in (START, END) for one in versions
            )
            continue
        one = versions[action.version]
        other = versions[1 - action.version]
        if isinstance(action, Load):
            assert one.aspired
            assert not one.failed
            assert one.state in (START, END)
        else:
            assert one.state is AVAILABLE
            assert not one.aspired
            coming = other.aspired and not other.failed and other.state is not AVAILABLE
            assert not (one.serving and coming)


@pytest.mark.parametrize("serving", [None, 0, 1])
def test_following_the_policy_ends(serving: int | None) -> None:
    """From any pair of states, doing what it says and finishing it comes to rest."""
    done = {LOADING: AVAILABLE, UNLOADING: END}
    for pair in product(ONES, ONES):
        versions = [
            snapshot(index, state, word + (" serving" if index == serving else ""))
            for index, (state, word) in enumerate(pair)
        ]
        for _ in range(8):
            versions = [
                msgspec.structs.replace(one, state=done.get(one.state, one.state))
                for one in versions
            ]
            action = next_action(versions)
            if action is None:
                break
            state = LOADING if isinstance(action, Load) else UNLOADING
            versions[action.version] = msgspec.structs.replace(
                versions[action.version], state=state
            )
        else:
            pytest.fail(f"it goes on for ever from {pair}")
        assert all(
            one.state is (AVAILABLE if one.aspired and not one.failed else one.state)
            for one in versions
        )


def test_aspired_are_the_default_what_rollback_restores_aliases_and_what_is_asked_for() -> None:
    assert aspired_versions(model(None), frozenset()) == frozenset()
    assert aspired_versions(model(3), frozenset()) == {3}
    assert aspired_versions(model(3, 2), frozenset()) == {3, 2}
    assert aspired_versions(model(3, 2, prod=1), frozenset()) == {3, 2, 1}
    assert aspired_versions(model(3), frozenset({1})) == {3, 1}


def test_a_version_that_does_not_exist_is_not_aspired() -> None:
    assert aspired_versions(model(3), frozenset({9, 0, -1})) == {3}


@pytest.mark.parametrize(
    ("desired", "serving", "previous", "available", "failed", "expected"),
    [
        # It follows the registry where it can.
        (2, None, None, {2}, (), 2),
        (2, 1, 1, {1, 2}, (), 2),
        (1, 2, None, {1, 2}, (), 1),
        # What served goes on until the new one is there: loading or failing alike.
        (2, 1, 1, {1}, (), 1),
        (2, 1, 1, {1}, {2}, 1),
        (3, 1, 2, {1, 2}, {3}, 1),
        # At a start nothing served before.
        (2, None, 1, {1}, (), None),
        (2, None, 1, {1}, {2}, 1),
        (2, None, None, set(), {2}, None),
        (2, None, 1, set(), {2}, None),
        # What served is gone.
        (2, 1, 1, set(), (), None),
        (2, 1, None, {3}, {2}, None),
        (3, 1, 2, {2}, {3}, 2),
        # Nothing is promoted: nothing serves, whatever is loaded.
        (None, None, None, {1}, (), None),
        (None, 1, None, {1}, (), None),
    ],
)
def test_where_unversioned_calls_go(
    desired: int | None,
    serving: int | None,
    previous: int | None,
    available: set[int],
    failed: set[int],
    expected: int | None,
) -> None:
    assert serving_version(desired, serving, previous, available, set(failed)) == expected


def test_calls_only_ever_go_to_a_version_that_is_available() -> None:
    some = [None, 1, 2, 3]
    sets = [{n for n in (1, 2, 3) if bits & 1 << n} for bits in range(0, 16, 2)]
    for desired, serving, previous, available, failed in product(some, some, some, sets, sets):
        found = serving_version(desired, serving, previous, available, failed)
        assert found is None or found in available
        if desired in available:
            assert found == desired
        elif desired is not None and serving in available:
            assert found == serving


def test_nothing_of_an_unloaded_model_is_aspired() -> None:
    one = msgspec.structs.replace(model(3, 2, prod=1), unloaded=True)
    assert aspired_versions(one, {2}) == frozenset()
