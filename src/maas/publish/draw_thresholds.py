"""Rows that sit on, just beside, and between the thresholds of decision trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from maas.publish.booster_trees import NoTreesError, read_ensemble

MOST_TREES = 200
MOST_VALUES = 2000
BOOSTERS = ("Booster", "XGB", "LGBM")
"""What the names of estimators around a booster begin with."""
ZERO = 2e-35
"""LightGBM takes what is no further from 0 than 1e-35 for 0, and has thresholds there."""


def threshold_rows(step: Any, width: int, n: int, rng: np.random.Generator) -> np.ndarray | None:
    """Rows [n, width] made of a tree's, or an ensemble's, thresholds; None where it has none.

    Each feature's value is one of its thresholds, the next float32 on either side of it, the
    middle between two neighbours, or beyond the ends.
    """
    if type(step).__name__.startswith(BOOSTERS):
        return _booster_rows(step, width, n, rng)
    pools: list[list[np.ndarray]] = [[] for _ in range(width)]
    for features, thresholds in _splits(step):
        for feature in np.unique(features):
            if 0 <= feature < width:
                pools[feature].append(thresholds[features == feature])
    if not any(pools):
        return None
    known = getattr(step, "is_categorical_", None)
    for feature in np.flatnonzero([] if known is None else known):
        categories = step._bin_mapper.bin_thresholds_[feature]
        pools[feature] = [np.append(categories, categories.max(initial=0) + 1)]
    columns = [_column(np.concatenate(pool) if pool else None, n, rng) for pool in pools]
    return np.stack(columns, axis=1)


def _booster_rows(step: Any, width: int, n: int, rng: np.random.Generator) -> np.ndarray | None:
    """Rows made of the thresholds and categories of XGBoost's or LightGBM's trees."""
    try:
        nodes = read_ensemble(step).attributes
    except NoTreesError:
        return None
    features, values = np.array(nodes["nodes_featureids"]), np.array(nodes["nodes_values"])
    modes = np.array(nodes["nodes_modes"])
    columns = []
    for feature in range(width):
        mine = (features == feature) & (modes != "LEAF")
        codes = np.unique(values[mine & (modes == "BRANCH_EQ")])
        if len(codes):
            columns.append(rng.choice(np.append(codes, [0.0, codes[-1] + 1]), n))
        else:
            # Also 0, which some trees take for a missing value.
            columns.append(_column(np.append(values[mine], 0.0) if mine.any() else None, n, rng))
    rows = np.stack(columns, axis=1)
    rows[np.abs(rows) < ZERO] = 0
    return rows


def _splits(step: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Feature and threshold of every split, tree by tree."""
    if type(getattr(step, "tree_", None)).__name__ == "Tree":
        inner = step.tree_.children_left != -1
        yield step.tree_.feature[inner], step.tree_.threshold[inner]
    if hasattr(step, "_predictors"):  # histogram gradient boosting
        for tree in [tree for stage in step._predictors for tree in stage][:MOST_TREES]:
            inner = (tree.nodes["is_leaf"] == 0) & (tree.nodes["is_categorical"] == 0)
            yield tree.nodes["feature_idx"][inner], tree.nodes["num_threshold"][inner]
    members = getattr(step, "estimators_", None)
    if members is not None and not hasattr(step, "estimators_features_"):
        for member in list(np.ravel(np.asarray(members, dtype=object)))[:MOST_TREES]:
            if type(getattr(member, "tree_", None)).__name__ == "Tree":
                yield from _splits(member)


def _column(thresholds: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
    if thresholds is None:
        return rng.standard_normal(n)
    values = np.unique(thresholds[np.isfinite(thresholds)])
    if not len(values):
        return rng.standard_normal(n)
    if len(values) > MOST_VALUES:
        values = np.sort(rng.choice(values, MOST_VALUES, replace=False))
    narrow = values.astype(np.float32)
    spread = float(values[-1] - values[0]) or abs(float(values[0])) or 1.0
    pool = np.concatenate(
        [
            narrow,
            np.nextafter(narrow, np.float32(np.inf)),
            np.nextafter(narrow, np.float32(-np.inf)),
            (values[1:] + values[:-1]) / 2,
            [values[0] - 0.2 * spread, values[-1] + 0.2 * spread],
        ]
    )
    # Exactly float32, so that it is the model's own comparison that is tried, not the rounding.
    return rng.choice(pool.astype(np.float32), n).astype(np.float64)
