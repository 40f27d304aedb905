"""Where lists open and close."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.dialects.tensorjson.outline import MAX_STRINGS, Outline, fits


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet='[]{}",:\\ ae1é中'),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(alphabet='[]{}",\\ae中', max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_depth_is_exact_whatever_the_strings_hold(value, ascii_only):
    outline = Outline(json.dumps(value, ensure_ascii=ascii_only).encode())
    depth = depth_of(value)
    assert not outline.deeper_than(depth)
    assert depth == 0 or outline.deeper_than(depth - 1)


def test_depth_is_followed_through_a_long_text():
    """Strings, quotes and lists that begin in one chunk and end in another."""
    for length in (1 << 18, (1 << 18) + 1, 3 << 18):
        text = b'{"a": ["' + b"]" * length + b'", [' + b"[]," * length + b'[["[["]]]]}'
        assert not Outline(text).deeper_than(5)
        assert Outline(text).deeper_than(4)


@given(JSON)
def test_values_are_never_undercounted(value):
    def count(value):
        if isinstance(value, dict):
            value = list(value.values())
        return 1 + sum(map(count, value)) if isinstance(value, list) else 1

    assert Outline(json.dumps(value).encode()).may_hold_more_than(count(value) - 1)


def test_numbers_and_long_strings_are_not_overcounted():
    text = json.dumps({"v": [1.5] * 100, "s": "x" * 1_000}).encode()
    assert Outline(text).may_hold_more_than(101)
    assert not Outline(text).may_hold_more_than(103)


@pytest.mark.parametrize("shape", [(1,), (3,), (0,), (2, 0), (2, 3), (1, 1, 1), (2, 3, 4), (5, 1)])
def test_a_regular_array_fits_its_own_shape_alone(shape):
    text = json.dumps({"k": np.ones(shape).tolist()}).encode()
    (outline,) = Outline(text).after("k")
    assert fits(outline, shape)
    assert not fits(outline, (*shape[:-1], shape[-1] + 2))
    assert not fits(outline, (shape[0] + 2, *shape[1:]))
    assert not fits(outline, (1, *shape))


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ([[1, 2], [3], [4, 5, 6]], (3, 2)),
        ([[1], [2, 3]], (2, 1)),
        ([1, [2]], (2,)),
        ([[1, 2, 3, 4]], (2, 2)),
        ([[1, 2], 3, 4], (2, 2)),
    ],
)
def test_a_ragged_array_does_not_fit(value, shape):
    (outline,) = Outline(json.dumps({"k": value}).encode()).after("k")
    assert not fits(outline, shape)


def test_a_shape_beyond_the_text_is_not_written_out():
    (outline,) = Outline(b'{"k": [[[1]]]}').after("k")
    assert not fits(outline, (10**9, 10**9, 10**9))


def test_keys_are_told_from_values_and_kept_in_order():
    text = b'{"a": "k", "k" : [1], "b": {"k":[[2,3]]}, "k2": [9], "c": ["k", ":", "k"]}'
    found = Outline(text).after("k")
    assert [fits(outline, (1,)) for outline in found] == [True, False]
    assert [fits(outline, (1, 2)) for outline in found] == [False, True]


def test_escapes_do_not_confuse_strings():
    text = json.dumps({'x"k': [1, 2], "y\\": [3], "k": [4, 5, 6], "z": '\\"k":[7]'}).encode()
    (outline,) = Outline(text).after("k")
    assert fits(outline, (3,))


def test_a_text_of_many_strings_is_not_searched():
    text = json.dumps({"s": ["t"] * (MAX_STRINGS + 1), "k": [1]}).encode()
    assert Outline(text).after("k") == []
