"""Draws rows of numbers for an estimator, from what it has learnt itself.

A proof is worth what its samples are: rows near a model's own thresholds, between its support
vectors, across its decision boundary. Every step of a pipeline yields rows in the space it sees;
they are taken back through the steps before it where those can be inverted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from maas.publish.draw_thresholds import threshold_rows
from maas.runtimes.estimator import answer, outputs_of

MOST_MEMBERS = 64
"""Members of an ensemble that are asked."""
MOST_ASKED = 64
"""Columns that are tried with a missing value one by one."""


def draw_rows(estimator: Any, width: int, count: int, seed: int = 0) -> np.ndarray:
    """Draws rows.

    Args:
        estimator: fitted, taking float matrices.
        width: features.
        count: rows wanted.
        seed: of the generator.

    Returns:
        float64 [count, width]; NaN in some where the estimator takes missing values.
    """
    from sklearn.utils import get_tags

    rng = np.random.default_rng(seed)
    sets = [rows for rows in _sets(estimator, width, count, rng) if rows.shape[1:] == (width,)]
    sets = [rows[np.isfinite(rows).all(axis=1)] for rows in sets]
    sets = [rows for rows in sets if len(rows)]
    if not sets:
        sets = [rng.standard_normal((count, width)) * rng.choice([1.0, 10.0], (count, 1))]
    picked = [sets[i % len(sets)] for i in range(count)]
    rows = np.stack([chosen[rng.integers(len(chosen))] for chosen in picked])
    # Rows between two drawn ones, so that not every row lies exactly on something learnt.
    between = rng.random(count) < 0.3
    rows[between] = (rows[between] + rows[rng.permutation(count)[: between.sum()]]) / 2
    # As float32: two values of a grid average to a threshold, which rounding would then cross.
    rows[between] = rows[between].astype(np.float32)
    if get_tags(estimator).input_tags.positive_only:
        rows = np.abs(rows)
    open_columns = _columns_that_may_be_missing(estimator, rows[:1])
    holes = (rng.random(rows.shape) < 0.25) & (rng.random((count, 1)) < 0.4)
    rows[holes & open_columns] = np.nan
    return rows


def _columns_that_may_be_missing(estimator: Any, row: np.ndarray) -> np.ndarray:
    """Which columns may hold NaN: bool [width]. Found by asking, since pipelines do not say."""
    width = row.shape[1]
    if _answers(estimator, np.full_like(row, np.nan)):
        return np.ones(width, dtype=bool)
    if width > MOST_ASKED:
        return np.zeros(width, dtype=bool)
    found = np.zeros(width, dtype=bool)
    for column in range(width):
        asked = row.copy()
        asked[:, column] = np.nan
        found[column] = _answers(estimator, asked)
    return found


def _answers(estimator: Any, rows: np.ndarray) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer(estimator, outputs_of(estimator), rows)
        except Exception:  # noqa: BLE001  (an estimator may raise anything; that is the answer)
            return False
    return True


def _sets(step: Any, width: int, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Sets of rows in the space that a step sees."""
    name = type(step).__name__
    if name == "Pipeline":
        yield from _pipeline_sets(step, width, n, rng)
        return
    if name == "ColumnTransformer":
        yield from _column_sets(step, width, n, rng)
        return
    rows = threshold_rows(step, width, n, rng)
    if rows is not None:
        yield rows
    for source in _SOURCES:
        rows = source(step, n, rng)
        if rows is not None and rows.ndim == 2:
            yield rows.astype(np.float64)
    for member, columns in _members(step):
        for rows in _sets(member, width if columns is None else len(columns), n, rng):
            if columns is None:
                yield rows
            elif rows.shape[1] == len(columns):
                wide = rng.standard_normal((len(rows), width))
                wide[:, columns] = rows
                yield wide


def _pipeline_sets(
    pipeline: Any, width: int, n: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    before: list[Any] = []
    for _, step in pipeline.steps:
        if step in (None, "passthrough"):
            continue
        seen = int(getattr(step, "n_features_in_", width))
        for rows in _sets(step, seen, n, rng):
            try:
                for earlier in reversed(before):
                    rows = np.asarray(earlier.inverse_transform(rows), dtype=np.float64)
            except (AttributeError, ValueError, TypeError, LookupError, NotImplementedError):
                continue  # this step cannot be gone back through; the others' rows remain
            yield rows
        before.append(step)


def _column_sets(step: Any, width: int, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    parts: list[tuple[list[int], list[np.ndarray]]] = []
    for name, inner, _ in step.transformers_:
        columns = [int(i) for i in step._transformer_to_input_indices[name]]
        if not isinstance(inner, str):
            sets = [r for r in _sets(inner, len(columns), n, rng) if r.shape[1:] == (len(columns),)]
            parts.append((columns, sets))
    rows = rng.standard_normal((n, width))
    for columns, sets in parts:
        for i in range(n):
            if sets:
                chosen = sets[i % len(sets)]
                rows[i, columns] = chosen[rng.integers(len(chosen))]
    yield rows


def _members(step: Any) -> Iterator[tuple[Any, list[int] | None]]:
    """Estimators inside one, each with the columns it sees (None for all)."""
    columns = getattr(step, "estimators_features_", None)
    inner = getattr(step, "estimators_", None)
    if inner is not None:
        flat = list(np.ravel(np.asarray(inner, dtype=object)))
        for i, member in enumerate(flat[:MOST_MEMBERS]):
            if not isinstance(member, str):
                yield member, None if columns is None else [int(c) for c in columns[i]]
    for name in ("best_estimator_", "estimator_", "regressor_", "base_estimator_"):
        if hasattr(step, name):
            yield getattr(step, name), None
    for fold in getattr(step, "calibrated_classifiers_", ()):
        yield fold.estimator, None
    for _, member in getattr(step, "transformer_list", ()):
        if not isinstance(member, str):
            yield member, None


def _from_moments(step: Any, n: int, rng: np.random.Generator) -> np.ndarray | None:
    mean, scale = getattr(step, "mean_", None), getattr(step, "scale_", None)
    if mean is None and scale is not None:
        mean = getattr(step, "center_", None)
        mean = np.zeros_like(scale) if mean is None else mean
    if mean is None or np.ndim(mean) != 1:
        return None
    spread = np.ones_like(mean) if scale is None or np.shape(scale) != np.shape(mean) else scale
    return np.asarray(mean + 1.5 * spread * rng.standard_normal((n, len(mean))))


def _from_range(step: Any, n: int, rng: np.random.Generator) -> np.ndarray | None:
    low, high = getattr(step, "data_min_", None), getattr(step, "data_max_", None)
    if low is None and getattr(step, "max_abs_", None) is not None:
        low, high = -step.max_abs_, step.max_abs_
    if low is None or high is None:
        return None
    return np.asarray(low + (high - low) * (rng.random((n, len(low))) * 1.2 - 0.1))


def _from_points(step: Any, n: int, rng: np.random.Generator) -> np.ndarray | None:
    for name in ("support_vectors_", "_fit_X", "cluster_centers_", "means_", "X_train_"):
        points = getattr(step, name, None)
        if points is not None and hasattr(points, "toarray"):
            points = points.toarray()
        if points is None or np.ndim(points) != 2 or not len(points):
            continue
        gaps = np.isnan(points)
        if gaps.any():  # an imputer's: gaps are made anew, where the estimator takes them
            points = np.where(gaps, np.nan_to_num(np.nanmean(points, axis=0)), points)
        one, other = (points[rng.integers(len(points), size=n)] for _ in range(2))
        share = rng.random((n, 1)) * 1.4 - 0.2
        noise = rng.standard_normal(one.shape) * (points.std(axis=0) + 1e-3) * 0.1
        return np.asarray(one + share * (other - one) + noise)
    return None


def _from_classes(step: Any, n: int, rng: np.random.Generator) -> np.ndarray | None:
    """Naive Bayes: its normal distributions, or counts."""
    if hasattr(step, "theta_") and hasattr(step, "var_"):
        kind = rng.integers(len(step.theta_), size=n)
        noise = rng.standard_normal((n, step.theta_.shape[1]))
        return np.asarray(step.theta_[kind] + 1.5 * np.sqrt(step.var_[kind]) * noise)
    if hasattr(step, "feature_log_prob_"):
        return rng.poisson(1.0, (n, step.feature_log_prob_.shape[1])).astype(np.float64)
    return None


def _from_weights(step: Any, n: int, rng: np.random.Generator) -> np.ndarray | None:
    """Rows on both sides of a linear model's boundary, at chosen distances from it."""
    weights = getattr(step, "coef_", None)
    if weights is None or not isinstance(weights, np.ndarray):
        return None
    weights = np.atleast_2d(weights)
    offsets = np.broadcast_to(np.ravel(getattr(step, "intercept_", 0.0)), (len(weights),))
    if len(weights) > 2:  # of several classes: where two of them tie
        other = (np.arange(len(weights)) + 1) % len(weights)
        weights = np.concatenate([weights, weights - weights[other]])
        offsets = np.concatenate([offsets, offsets - offsets[other]])
    rows = rng.standard_normal((n, weights.shape[1])) * rng.choice([0.1, 1.0, 5.0], (n, 1))
    kind = rng.integers(len(weights), size=n)
    across, size = weights[kind], np.square(weights[kind]).sum(axis=1) + 1e-12
    if not hasattr(step, "classes_"):
        # A regression has no boundary: rows whose terms are about as large as its intercept.
        level = np.maximum(np.abs(offsets[kind]), 1.0) * rng.choice([0.1, 1.0, 3.0], n)
        return np.asarray(
            rows / np.linalg.norm(rows, axis=1)[:, None] * (level / size**0.5)[:, None]
        )
    target = rng.uniform(-4, 4, n)
    shift = (target - (rows * across).sum(axis=1) - offsets[kind]) / size
    return np.asarray(rows + shift[:, None] * across)


def _from_imputer(step: Any, n: int, rng: np.random.Generator) -> np.ndarray | None:
    usual = getattr(step, "statistics_", None)
    if usual is None or usual.dtype == object:
        return None
    usual = np.nan_to_num(usual)
    noise = rng.standard_normal((n, len(usual)))
    return np.asarray(usual + noise * (0.5 * np.abs(usual) + 1))


def _from_choices(step: Any, n: int, rng: np.random.Generator) -> np.ndarray | None:
    """Categories, bin edges, quantiles: for each column, values to choose from."""
    pools: list[np.ndarray] = []
    if getattr(step, "categories_", None) is not None:
        known = getattr(step, "handle_unknown", "error") == "error"
        for values in step.categories_:
            if values.dtype.kind not in "iufb":
                return None
            values = values.astype(np.float64)
            unknown = [] if known else [np.nanmax(values) + 1]
            pools.append(np.concatenate([values[np.isfinite(values)], unknown]))
    elif getattr(step, "bin_edges_", None) is not None:
        pools = [np.concatenate([e, (e[1:] + e[:-1]) / 2]) for e in step.bin_edges_]
    elif getattr(step, "quantiles_", None) is not None:
        pools = list(step.quantiles_.T)
    elif getattr(step, "X_thresholds_", None) is not None:
        known = np.asarray(step.X_thresholds_, dtype=np.float64)
        pools = [np.concatenate([known, (known[1:] + known[:-1]) / 2])]
    if not pools or any(len(pool) == 0 for pool in pools):
        return None
    return np.stack([rng.choice(pool, n) for pool in pools], axis=1)


_SOURCES: tuple[Callable[[Any, int, np.random.Generator], np.ndarray | None], ...] = (
    _from_moments,
    _from_range,
    _from_points,
    _from_classes,
    _from_weights,
    _from_imputer,
    _from_choices,
)
