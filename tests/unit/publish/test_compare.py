from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import invalid
from maas.publish.batch import prove_batched
from maas.publish.compare import compare, distinct_answers


def f(*values):
    return {"y": np.array(values, dtype=np.float32)}


def test_equal_within_tolerance():
    difference = compare(f(1.0, 1000.0, 0.0), f(1.0005, 1000.5, 0.000005))
    assert difference.agrees
    assert difference.max_abs == pytest.approx(0.5, rel=1e-3)
    assert difference.max_rel == pytest.approx(5e-4, rel=1e-2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f(1.0, 2.0), f(1.0, 2.01)),
        (f(np.nan, 2.0), f(0.0, 2.0)),
        (f(np.inf, 2.0), f(-np.inf, 2.0)),
        ({"y": np.array([1, 2])}, {"y": np.array([1, 3])}),
        ({"y": np.array([b"a"], object)}, {"y": np.array([b"b"], object)}),
    ],
)
def test_one_row_differs(one, other):
    difference = compare(one, other)
    assert difference.wrong == 1
    assert "differ in 'y'" in difference.describe()


def test_not_numbers_equal_themselves():
    assert compare(f(np.nan, np.inf, 1.0), f(np.nan, np.inf, 1.0)).agrees


def test_another_shape_is_wrong_everywhere():
    assert compare(f(1.0, 2.0), f(1.0)).wrong == 2


def test_labels_may_differ_only_where_the_reference_is_torn():
    one, other = {"label": np.array([0, 1])}, {"label": np.array([1, 1])}
    assert not compare(one, other, np.array([False, True])).agrees
    assert compare(one, other, np.array([True, False])).agrees


def test_distinct_answers():
    assert distinct_answers({"y": np.array([1.0, 1.00001, 0.0, -0.0, 2.0])}) == 3
    assert distinct_answers({"y": np.array([[1, 2], [1, 2], [2, 1]])}) == 2
    assert distinct_answers({"y": np.array([np.nan, 0.0])}) == 1
    assert distinct_answers({"y": np.array([b"a", b"b"], dtype=object)}) == 2


ROWS = {"x": np.arange(12, dtype=np.float32).reshape(6, 2)}


@pytest.mark.parametrize(
    ("run", "batched"),
    [
        (lambda t: {"y": t["x"] * 2}, True),
        (lambda t: {"y": t["x"] - t["x"].mean(axis=0)}, False),
        (lambda t: {"y": np.sort(t["x"], axis=0)[::-1]}, False),
        (lambda t: {"y": np.cumsum(t["x"], axis=0)}, False),
        (lambda t: {"y": t["x"][:1]}, False),
        (lambda t: {"y": t["x"].sum()}, False),
        (lambda t: {"y": t["x"] @ t["x"].T}, False),
        (lambda t: {"y": t["x"] * 0}, False),
    ],
)
def test_the_batch_is_proven(run, batched):
    proof = prove_batched(run, ROWS)
    assert proof.batched is batched
    assert proof.note


def test_one_row_or_a_refusal_proves_nothing():
    assert not prove_batched(lambda t: t, {"x": ROWS["x"][:1]}).batched

    def one_at_a_time(tensors):
        if len(tensors["x"]) > 1:
            raise invalid("one at a time")
        return {"y": tensors["x"]}

    assert "one at a time" in prove_batched(one_at_a_time, ROWS).note


def test_no_rows():
    nothing, other = np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32)
    assert compare({"y": nothing}, {"y": nothing.copy()}).agrees
    assert not compare({"y": nothing}, {"y": other}).agrees


def test_half_precision_is_compared_by_its_own_steps():
    near, far = 1 + 0.005, 1 + 0.03
    for dtype, agrees in ((np.float16, True), (np.float32, False)):
        one = {"y": np.ones((3, 1), dtype)}
        assert compare(one, {"y": np.full((3, 1), near, dtype)}).agrees is agrees
        assert not compare(one, {"y": np.full((3, 1), far, dtype)}).agrees
