"""Small boosters of every kind that publishing tells apart, made where they are needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(400, 5)).astype(np.float32)
X[:, 4] = _RNG.integers(0, 7, 400)
X[_RNG.random(X.shape) < 0.08] = np.nan
"""Rows with gaps; the last column holds codes of categories."""
_FULL = np.nan_to_num(X)
NUMBERS = _FULL[:, 0] * 3 + _FULL[:, 1] ** 2 + _FULL[:, 4] % 3
POSITIVE = np.abs(NUMBERS) + 0.1
YES = (_FULL[:, 0] + _FULL[:, 1] * (_FULL[:, 4] % 2) > 0).astype(int)
THREE = np.digitize(_FULL[:, 0] + (_FULL[:, 4] == 3), [-0.5, 0.5])
GROUPS = [20] * 20
"""Queries of a ranking."""


def xgboost_booster(
    params: dict[str, Any],
    label: np.ndarray,
    rounds: int = 6,
    categories: bool = False,
    **about: Any,
) -> Any:
    """Trains an `xgboost.Booster`."""
    import xgboost

    types = ["q"] * 4 + ["c" if categories else "q"]
    rows = xgboost.DMatrix(X, label, feature_types=types, enable_categorical=True, **about)
    return xgboost.train({"nthread": 1, **params}, rows, rounds)


def lightgbm_booster(
    params: dict[str, Any],
    label: np.ndarray,
    rounds: int = 6,
    categories: bool = False,
    **about: Any,
) -> Any:
    """Trains a `lightgbm.Booster`."""
    import lightgbm

    usual = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_per_group": 1}
    rows = lightgbm.Dataset(X, label, categorical_feature=[4] if categories else [], **about)
    return lightgbm.train({**usual, **params}, rows, rounds)


def _xgboost(name: str, *args: Any, **kwargs: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        xgboost_booster(*args, **kwargs).save_model(folder / name)
        return folder / name

    return save


def _lightgbm(*args: Any, **kwargs: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        lightgbm_booster(*args, **kwargs).save_model(folder / "model.txt")
        return folder / "model.txt"

    return save


_NAMED = {"feature_names": list("abcde")}
_SOFT = {"objective": "multi:softprob", "num_class": 3}
_DART = {**_SOFT, "booster": "dart", "rate_drop": 0.3}
_ONE_HOT = {"objective": "binary:logistic", "max_cat_to_onehot": 10}
_SETS = {"objective": "binary:logistic", "max_cat_to_onehot": 1}
_FOREST = {"objective": "binary", "boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}

BOOSTERS = MappingProxyType(
    {
        "XGBoost binary, JSON": _xgboost("m.json", {"objective": "binary:logistic"}, YES, **_NAMED),
        "XGBoost binary, UBJSON, base score": _xgboost(
            "m.ubj", {"objective": "binary:logistic", "base_score": 0.2}, YES
        ),
        "XGBoost 3 classes": _xgboost("m.json", _SOFT, THREE),
        "XGBoost 3 classes, labels only": _xgboost(
            "m.ubj", {"objective": "multi:softmax", "num_class": 3}, THREE
        ),
        "XGBoost DART": _xgboost("m.json", _DART, THREE),
        "XGBoost categories one by one": _xgboost("m.json", _ONE_HOT, YES, categories=True),
        "XGBoost sets of categories": _xgboost("m.json", _SETS, YES, categories=True),
        "XGBoost regression": _xgboost("m.json", {"objective": "reg:squarederror"}, NUMBERS),
        "XGBoost Poisson": _xgboost("m.json", {"objective": "count:poisson"}, POSITIVE),
        "XGBoost quantiles": _xgboost(
            "m.json", {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, NUMBERS
        ),
        "XGBoost two targets": _xgboost(
            "m.json", {"objective": "reg:squarederror"}, np.c_[NUMBERS, POSITIVE]
        ),
        "XGBoost ranking": _xgboost("m.json", {"objective": "rank:ndcg"}, THREE, group=GROUPS),
        "XGBoost Cox": _xgboost("m.json", {"objective": "survival:cox"}, POSITIVE),
        "XGBoost linear": _xgboost(
            "m.json", {"objective": "reg:squarederror", "booster": "gblinear"}, NUMBERS
        ),
        "XGBoost vectors in leaves": _xgboost(
            "m.json", {"multi_strategy": "multi_output_tree"}, np.c_[NUMBERS, POSITIVE]
        ),
        "LightGBM binary": _lightgbm(
            {"objective": "binary", "sigmoid": 2.0}, YES, feature_name=list("abcde")
        ),
        "LightGBM 3 classes": _lightgbm({"objective": "multiclass", "num_class": 3}, THREE),
        "LightGBM one class against the rest": _lightgbm(
            {"objective": "multiclassova", "num_class": 3}, THREE
        ),
        "LightGBM categories": _lightgbm(
            {"objective": "multiclass", "num_class": 3}, THREE, categories=True
        ),
        "LightGBM random forest": _lightgbm(_FOREST, YES),
        "LightGBM DART regression": _lightgbm(
            {"objective": "regression", "boosting": "dart"}, NUMBERS
        ),
        "LightGBM absolute error": _lightgbm({"objective": "regression_l1"}, NUMBERS),
        "LightGBM Tweedie": _lightgbm({"objective": "tweedie"}, POSITIVE),
        "LightGBM ranking": _lightgbm({"objective": "lambdarank"}, THREE, group=GROUPS),
        "LightGBM linear leaves": _lightgbm(
            {"objective": "regression", "linear_tree": True}, NUMBERS
        ),
        "LightGBM zero is missing": _lightgbm(
            {"objective": "regression", "zero_as_missing": True}, NUMBERS
        ),
    }
)
"""Title → saves it into a folder, and says where."""
