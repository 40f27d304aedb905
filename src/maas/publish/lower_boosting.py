"""Converts histogram gradient boosting, where skl2onnx 1.20 falls short of it.

It writes flags as booleans, which ONNX's protobuf no longer takes for integers, rounds thresholds
to the nearest float32 (a row that lies exactly there then goes the other way), and reads splits by
category as if they were thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Convert = Callable[[Any, Any, Any], None]


class SplitByCategoryError(NotImplementedError):
    """A tree splits by category, which has no form in ONNX's tree ensembles here."""


def boosting_converters() -> dict[type, Convert]:
    """Converters by estimator, as skl2onnx takes them."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return {
        HistGradientBoostingClassifier: _converter("SklearnHistGradientBoostingClassifier"),
        HistGradientBoostingRegressor: _converter("SklearnHistGradientBoostingRegressor"),
    }


def _converter(alias: str) -> Convert:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common._registration import get_converter

        trees = [tree for stage in operator.raw_operator._predictors for tree in stage]
        nodes = np.concatenate([tree.nodes for tree in trees])
        if nodes["is_categorical"].any():
            raise SplitByCategoryError("it splits by category, which ONNX's trees here do not")
        get_converter(alias)(scope, operator, _Container(container, _thresholds(nodes)))

    return convert


def _thresholds(nodes: np.ndarray) -> list[float]:
    """The largest float32 that is not above each threshold; 0 for leaves.

    For a float32 `x`, `x <= t` and `x <=` that are the same.
    """
    exact = np.where(nodes["is_leaf"] != 0, 0.0, nodes["num_threshold"])
    narrow = exact.astype(np.float32)
    below = np.nextafter(narrow, np.float32(-np.inf))
    return [float(value) for value in np.where(narrow > exact, below, narrow)]


class _Container:
    """skl2onnx's container, with the attributes of tree ensembles set right as they are added."""

    def __init__(self, inner: Any, thresholds: list[float]):
        self._inner = inner
        self._thresholds = thresholds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def add_node(self, op_type: str, *args: Any, **attributes: Any) -> Any:
        """Adds a node."""
        if op_type.startswith("TreeEnsemble"):
            flags = attributes["nodes_missing_value_tracks_true"]
            attributes["nodes_missing_value_tracks_true"] = [int(flag) for flag in flags]
            attributes["nodes_values"] = self._thresholds
        return self._inner.add_node(op_type, *args, **attributes)
