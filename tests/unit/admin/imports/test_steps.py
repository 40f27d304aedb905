from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.admin.imports.sources import All, Latest, Policy, Specific
from maas.admin.imports.steps import (
    DropLabel,
    Found,
    Import,
    Known,
    Promote,
    Retire,
    SetLabel,
    Standing,
    chosen,
    loaded,
    next_step,
)

GOOD = Known("a", stored=True, serves=True)
BAD = Known("a", stored=False, serves=False, reason="no model")
UNLOADABLE = Known("a", stored=True, serves=False, reason="it does not load")


def there(*numbers: int, copying: Iterable[int] = (), changed: Iterable[int] = ()) -> Any:
    """Version folders; some still being copied, some changed since they were judged."""
    return {
        number: Found("b" if number in changed else "a", number not in copying)
        for number in numbers
    }


def standing(found: Any, known: Any = None, policy: Policy = Latest(), **more: Any) -> Standing:  # noqa: B008
    return Standing(policy, found, known or {}, **more)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Latest(), (7,)),
        (Latest(2), (7, 3)),
        (Latest(9), (7, 3, 1)),
        (All(), (7, 3, 1)),
        (Specific((1, 7, 8)), (7, 1)),
        (Specific(()), ()),
    ],
)
def test_a_policy_takes_versions(policy: Policy, expected: tuple[int, ...]) -> None:
    assert chosen(policy, [3, 1, 7]) == expected


@pytest.mark.parametrize(
    ("what", "given_", "step"),
    [
        ("nothing is there", standing({}), None),
        ("the newest of all is imported", standing(there(1, 2, 10)), Import(10)),
        ("then it serves", standing(there(1, 2), {2: GOOD}), Promote(2)),
        ("then nothing", standing(there(1, 2), {2: GOOD}, promoted=2), None),
        ("a new one", standing(there(1, 2, 3), {2: GOOD}, promoted=2), Import(3)),
        (
            "a new one that is being copied waits",
            standing(there(1, 2, 3, copying=[3]), {2: GOOD}, promoted=2),
            None,
        ),
        (
            "while the only one is being copied there is nothing",
            standing(there(1, copying=[1])),
            None,
        ),
        (
            "at a first start the next best serves meanwhile",
            standing(there(1, 2, copying=[2])),
            Import(1),
        ),
        (
            "what is refused leaves the old one where it is",
            standing(there(2, 3), {2: GOOD, 3: BAD}, promoted=2),
            None,
        ),
        (
            "the next best stands in for what is refused",
            standing(there(1, 2, 3), {3: BAD}),
            Import(2),
        ),
        (
            "so it does for what does not load",
            standing(there(1, 2), {1: GOOD, 2: UNLOADABLE}, promoted=2),
            Promote(1),
        ),
        (
            "what is refused is tried again when it changes",
            standing(there(2, 3, changed=[3]), {2: GOOD, 3: BAD}, promoted=2),
            Import(3),
        ),
        (
            "what serves is looked at again when it changes",
            standing(there(2, changed=[2]), {2: GOOD}, promoted=2),
            Import(2),
        ),
        (
            "but not while it changes",
            standing(there(2, changed=[2], copying=[2]), {2: GOOD}, promoted=2),
            None,
        ),
        (
            "the version before serves again when the newest is taken away",
            standing(there(1), {1: GOOD, 2: GOOD}, promoted=2),
            Promote(1),
        ),
        (
            "it is imported first where it never was",
            standing(there(1), {2: GOOD}, promoted=2),
            Import(1),
        ),
        (
            "and only then does the newest go",
            standing(there(1), {1: GOOD, 2: GOOD}, promoted=1),
            Retire(2),
        ),
        (
            "nothing goes while nothing else serves",
            standing(there(1), {1: BAD, 2: GOOD}, promoted=2),
            None,
        ),
        ("nothing goes when everything is gone", standing({}, {2: GOOD}, promoted=2), None),
        (
            "what could not be retired is left for another time",
            standing(there(1), {1: GOOD, 2: GOOD}, promoted=1, stuck={2}),
            None,
        ),
        (
            "what was never stored has nothing to retire",
            standing(there(1), {1: GOOD, 2: BAD}, promoted=1),
            None,
        ),
        (
            "of all versions the highest serves first",
            standing(there(1, 2, 3), {3: GOOD}, All()),
            Promote(3),
        ),
        (
            "and the others follow",
            standing(there(1, 2, 3), {3: GOOD}, All(), promoted=3),
            Import(2),
        ),
        (
            "specific versions, the highest of them for unversioned calls",
            standing(there(1, 2, 3), {1: GOOD, 2: GOOD}, Specific((1, 2))),
            Promote(2),
        ),
        (
            "a label is set once its version serves",
            standing(there(2), {2: GOOD}, promoted=2, labels={"stable": 2, "canary": 3}),
            SetLabel("stable", 2),
        ),
        (
            "a label moves",
            standing(
                there(1, 2), {1: GOOD, 2: GOOD}, All(), promoted=2,
                labels={"stable": 2}, labelled={"stable": 1},
            ),
            SetLabel("stable", 2),
        ),
        (
            "a label that is no longer named goes",
            standing(there(2), {2: GOOD}, promoted=2, labelled={"stable": 2}),
            DropLabel("stable"),
        ),
    ],
)  # fmt: skip
def test_the_next_step(what: str, given_: Standing, step: object) -> None:
    assert next_step(given_) == step, what


def test_what_serves_is_held_until_what_is_new_has_been_imported() -> None:
    new = standing(there(1, 2, 3), {1: GOOD, 2: GOOD}, Latest(2), promoted=2)
    assert loaded(new, frozenset({1, 2})) == {1, 2, 3}
    done = standing(there(1, 2, 3), {1: GOOD, 2: GOOD, 3: GOOD}, Latest(2), promoted=3)
    assert loaded(done, frozenset({1, 2, 3})) == {2, 3}


numbers = st.integers(1, 6)
knowns = st.builds(Known, st.sampled_from("ab"), st.booleans(), st.booleans()).filter(
    lambda known: known.stored or not known.serves
)
policies = st.one_of(
    st.builds(Latest, st.integers(1, 3)),
    st.just(All()),
    st.builds(Specific, st.lists(numbers, max_size=3).map(tuple)),
)


@given(
    policies,
    st.dictionaries(numbers, st.builds(Found, st.sampled_from("ab"), st.booleans())),
    st.dictionaries(numbers, knowns),
    st.none() | numbers,
    st.dictionaries(st.sampled_from("xy"), numbers),
    st.dictionaries(st.sampled_from("xy"), numbers),
    st.data(),
)
def test_steps_come_to_an_end_and_never_leave_nothing_serving(
    policy: Policy,
    found: Mapping[int, Found],
    known: dict[int, Known],
    promoted: int | None,
    labels: dict[str, int],
    labelled: dict[str, int],
    data: st.DataObject,
) -> None:
    """Whatever the world does with each step: it ends, and what serves goes only after another."""
    stuck: set[int] = set()
    for _ in range(60):
        now = Standing(policy, found, known, promoted, labels, labelled, frozenset(stuck))
        step = next_step(now)
        match step:
            case None:
                return
            case Import(number):
                assert found[number].complete
                serves = data.draw(st.booleans())
                known[number] = Known(
                    found[number].stamp, serves or data.draw(st.booleans()), serves
                )
            case Promote(number):
                assert known[number].serves
                promoted = number
                if data.draw(st.booleans()):
                    known[number] = Known(known[number].stamp, stored=True, serves=False)
            case SetLabel(label, number):
                assert known[number].serves
                labelled[label] = number
            case DropLabel(label):
                del labelled[label]
            case Retire(number):
                assert number not in found
                assert any(known[one].serves for one in found if one in known)
                assert number != promoted
                if data.draw(st.booleans()):
                    del known[number]
                else:
                    stuck.add(number)
    raise AssertionError("it goes round in circles")
