"""Reads the trees of XGBoost's and LightGBM's boosters as one ONNX tree ensemble.

booster → onnxmltools' reader of its trees → targets, weights and thresholds set right → Ensemble

onnxmltools knows both libraries' trees, splits by category included. What lies around them it
guesses (the objective from a node's statistics, for one) or leaves out (DART's weights, links of
some objectives), so that is read from the booster itself.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
from msgspec import Struct

from maas.runtimes.boosters import BoosterModel
from maas.runtimes.lightgbm import model_of
from maas.runtimes.wording import one_sentence
from maas.runtimes.xgboost import XGBoostModel

LINKS = {
    "binary:logistic": "logistic",
    "reg:logistic": "logistic",
    "multi:softmax": "softmax",
    "multi:softprob": "softmax",
    "count:poisson": "exp",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "survival:aft": "exp",
    "survival:cox": "exp",
    "binary:logitraw": "identity",
    "rank:map": "identity",
    "rank:ndcg": "identity",
    "rank:pairwise": "identity",
    "reg:absoluteerror": "identity",
    "reg:pseudohubererror": "identity",
    "reg:quantileerror": "identity",
    "reg:squarederror": "identity",
    "reg:squaredlogerror": "identity",
    "binary": "logistic",
    "multiclass": "softmax",
    "multiclassova": "logistic",
    "cross_entropy": "logistic",
    "gamma": "exp",
    "poisson": "exp",
    "tweedie": "exp",
    "": "identity",
    "custom": "identity",
    "fair": "identity",
    "huber": "identity",
    "lambdarank": "identity",
    "mape": "identity",
    "quantile": "identity",
    "rank_xendcg": "identity",
    "regression": "identity",
    "regression_l1": "identity",
}
"""Objective → what is done to the sum over the trees. Source: each library's list of objectives,
XGBoost's first."""


class NoTreesError(NotImplementedError):
    """The booster has no form as an ONNX tree ensemble; the message is the reason, a clause."""


class Ensemble(Struct, frozen=True):
    """A booster's trees.

    Args:
        attributes: of ONNX's TreeEnsembleRegressor, `nodes_…` and `target_…`.
        targets: sums that it gives for a row.
        base: what each sum begins with.
        link: what is done to the sums: `identity`, `logistic`, `softmax` or `exp`.
        classes: how many it tells apart; 0 for numbers and ranks.
        floors: whether -0.5 is the code -1 of a category, which there is not, or 0.
    """

    attributes: dict[str, list[Any]]
    targets: int
    base: tuple[float, ...]
    link: str
    classes: int
    floors: bool


def read_ensemble(estimator: Any) -> Ensemble:
    """Reads the trees of an estimator around a booster.

    Args:
        estimator: `boosters_estimator`'s, or XGBoost's or LightGBM's own, fitted.

    Raises:
        NoTreesError: where it has none, or none that ONNX can hold.
    """
    try:
        model = _model_of(estimator)
        return _read_xgboost(model) if model.library == "XGBoost" else _read_lightgbm(model)
    except NoTreesError:
        raise
    except Exception as error:
        raise NoTreesError(f"onnxmltools cannot read its trees: {one_sentence(error)}") from error


def _model_of(estimator: Any) -> Any:
    model: BoosterModel | None = getattr(estimator, "model", None)
    if model is not None:
        return model
    if hasattr(estimator, "booster_"):
        return model_of(estimator.booster_)
    if not np.isnan(estimator.missing):
        raise NoTreesError(f"it takes {estimator.missing} for a missing value, not NaN")
    booster = estimator.get_booster()
    model = XGBoostModel(booster, 1)
    best = booster.attr("best_iteration")
    model.rounds = 0 if best is None else int(best) + 1
    return model


def _link(objective: str) -> str:
    link = LINKS.get(objective.partition(" ")[0])
    if link is None or "sqrt" in objective.split():
        raise NoTreesError(f"what its objective {objective[:60]!r} makes of the trees is not known")
    return link


def _read_xgboost(model: XGBoostModel) -> Ensemble:
    import xgboost
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    booster: Any = model.booster
    parts = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    if parts["name"] == "gblinear":
        raise NoTreesError("its booster is linear, without trees")
    forest = parts.get("gbtree", parts)["model"]
    if any(int(tree["tree_param"].get("size_leaf_vector", "1")) > 1 for tree in forest["trees"]):
        raise NoTreesError("its leaves hold a vector each")
    weights = parts.get("weight_drop") or [1.0] * len(forest["tree_info"])
    # Of a copy: names other than f0, f1 and so on are not read.
    plain = xgboost.Booster(model_file=booster.save_raw("ubj"))
    plain.feature_names = None
    if model.rounds:
        plain = plain[: model.rounds]
    dump = plain.get_dump(with_stats=True, dump_format="json")
    config = {"learner": {"learner_model_param": {"num_class": "0", "base_score": "[0]"}}}
    source = SimpleNamespace(get_dump=lambda **_: dump, save_config=lambda: json.dumps(config))
    facade = SimpleNamespace(
        kwargs={},
        operator_name="XGBRegressor",
        get_booster=lambda: source,
        get_xgb_params=lambda: {"objective": "reg:squarederror"},
    )
    attributes = _recorded(convert_xgboost, facade)
    base = _base_margins(model)
    link = _link(model.objective)
    trees = np.array(attributes["target_treeids"])
    attributes["target_ids"] = np.array(forest["tree_info"])[trees].tolist()
    attributes["target_weights"] = (
        np.array(attributes["target_weights"]) * np.array(weights)[trees]
    ).tolist()
    return Ensemble(attributes, len(base), base, link, model.classes, floors=True)


def _base_margins(model: XGBoostModel) -> tuple[float, ...]:
    """What the sums begin with: how far a row's sums are from those that begin with nothing."""
    import xgboost

    booster: Any = model.booster
    row = np.zeros((1, model.width), np.float32)

    def margins(base: np.ndarray | None) -> np.ndarray:
        # The trees cancel out, so columns of categories may be taken for numbers.
        matrix = xgboost.DMatrix(
            row, base_margin=base, feature_types=booster.feature_types, enable_categorical=True
        )
        return np.asarray(
            booster.predict(matrix, output_margin=True, validate_features=False, strict_shape=True)
        ).reshape(1, -1)

    said = margins(None)
    return tuple(float(x) for x in (said - margins(np.zeros_like(said)))[0])


def _read_lightgbm(model: Any) -> Ensemble:
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    dump = model.booster.dump_model()
    if '"missing_type": "Zero"' in json.dumps(dump["tree_info"]):
        raise NoTreesError("it takes 0 for a missing value")
    link = _link(model.objective)
    targets = int(dump["num_tree_per_iteration"])
    rounds = max(len(dump["tree_info"]) // targets, 1)
    scale = 1 / rounds if dump["average_output"] else 1.0
    for parameter in model.objective.split():
        if parameter.startswith("sigmoid:"):
            scale *= float(parameter.removeprefix("sigmoid:"))
    dump["objective"] = "regression"
    source = SimpleNamespace(is_mock=True, dump_model=lambda: dump)
    facade = SimpleNamespace(booster_=source, boosting_type="gbdt")
    attributes = _recorded(convert_lightgbm, facade)
    trees = np.array(attributes["target_treeids"])
    attributes["target_ids"] = (trees % targets).tolist()
    attributes["target_weights"] = (np.array(attributes["target_weights"]) * scale).tolist()
    attributes["nodes_values"] = _not_above(attributes["nodes_values"])
    return Ensemble(attributes, targets, (0.0,) * targets, link, model.classes, floors=False)


def _not_above(values: list[float]) -> list[float]:
    """The largest float32 not above each threshold, which is a float64.

    For a float32 `x`, `x <= t` and `x <=` that are the same.
    """
    exact = np.array(values, np.float64)
    with np.errstate(over="ignore"):
        narrow = exact.astype(np.float32)
    below = np.nextafter(narrow, np.float32(-np.inf))
    return [float(value) for value in np.where(narrow > exact, below, narrow)]


def _recorded(convert: Any, facade: Any) -> dict[str, list[Any]]:
    """The attributes of the tree ensemble that a converter of onnxmltools writes."""
    recorder = _Recorder()
    operator = SimpleNamespace(
        raw_operator=facade,
        full_name="trees",
        inputs=[],
        outputs=[],
        input_full_names=["x"],
        output_full_names=["y"],
    )
    convert(recorder, operator, recorder)
    kept = ("nodes_", "target_")
    return {k: list(v) for k, v in recorder.attributes.items() if k.startswith(kept)}


class _Recorder:
    """Stands for the scope and the container of a conversion; keeps the tree ensemble only."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def add_node(self, op_type: str, *_: Any, **attributes: Any) -> None:
        """Hears of a node."""
        if op_type == "TreeEnsembleRegressor":
            self.attributes = attributes

    def add_initializer(self, *_: Any) -> None:
        """Hears of a constant, which belongs to no tree."""

    def get_unique_variable_name(self, name: str) -> str:
        """Names are not kept."""
        return name

    def get_unique_operator_name(self, name: str) -> str:
        """Names are not kept."""
        return name
