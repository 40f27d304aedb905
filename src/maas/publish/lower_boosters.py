"""Teaches skl2onnx to convert boosters of XGBoost and LightGBM, alone or inside a pipeline."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from maas.publish.booster_trees import Ensemble, read_ensemble

CLASSIFIERS = (
    ("xgboost", "XGBClassifier"),
    ("xgboost", "XGBRFClassifier"),
    ("lightgbm", "LGBMClassifier"),
    ("maas.publish.boosters_estimator", "BoosterClassifier"),
)
OTHERS = (
    ("xgboost", "XGBRegressor"),
    ("xgboost", "XGBRFRegressor"),
    ("xgboost", "XGBRanker"),
    ("lightgbm", "LGBMRegressor"),
    ("lightgbm", "LGBMRanker"),
    ("maas.publish.boosters_estimator", "BoosterRegressor"),
)
ML = "ai.onnx.ml"
FLOAT, INT64, STRING, BOOL = 1, 7, 8, 9
"""TensorProto.DataType. Source: onnx/onnx.proto."""


def register_boosters() -> None:
    """Registers converters for those classes whose modules this process has imported."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    options = {"zipmap": [False, True, "columns"], "nocl": [False, True]}
    for module, name in CLASSIFIERS:
        if module in sys.modules:
            update_registered_converter(
                getattr(sys.modules[module], name),
                f"Maas{name}",
                calculate_linear_classifier_output_shapes,
                _convert_classifier,
                options=options,
            )
    for module, name in OTHERS:
        if module in sys.modules:
            update_registered_converter(
                getattr(sys.modules[module], name), f"Maas{name}", _any_width, _convert_other
            )


def _any_width(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType([None, None])


def _convert_other(scope: Any, operator: Any, container: Any) -> None:
    ensemble = read_ensemble(operator.raw_operator)
    sums = _sums(scope, operator, container, ensemble)
    last = {"identity": "Identity", "logistic": "Sigmoid", "exp": "Exp", "softmax": "Softmax"}
    _add(scope, container, last[ensemble.link], [sums], operator.outputs[0].full_name)


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    ensemble = read_ensemble(operator.raw_operator)
    sums = _sums(scope, operator, container, ensemble)
    label, probabilities = (output.full_name for output in operator.outputs)
    if ensemble.targets == 1:
        yes, no, one = (scope.get_unique_variable_name(name) for name in ("yes", "no", "one"))
        container.add_initializer(one, FLOAT, [1], [1.0])
        _add(scope, container, "Sigmoid", [sums], yes)
        _add(scope, container, "Sub", [one, yes], no)
        _add(scope, container, "Concat", [no, yes], probabilities, axis=1)
    elif ensemble.link == "softmax":
        _add(scope, container, "Softmax", [sums], probabilities, axis=1)
    else:
        _add(scope, container, "Sigmoid", [sums], probabilities)
    index, names = (scope.get_unique_variable_name(name) for name in ("index", "classes"))
    classes = np.asarray(operator.raw_operator.classes_)
    texts = classes.dtype.kind in "USO"
    values = [str(c).encode() for c in classes] if texts else [int(c) for c in classes]
    container.add_initializer(names, STRING if texts else INT64, [len(values)], values)
    _add(scope, container, "ArgMax", [probabilities], index, axis=1, keepdims=0)
    _add(scope, container, "Gather", [names, index], label)


def _sums(scope: Any, operator: Any, container: Any, ensemble: Ensemble) -> str:
    """Adds the trees; the name of their sums, [n, targets]."""
    from skl2onnx.common.data_types import FloatTensorType

    (rows,) = (value.full_name for value in operator.inputs)
    if not isinstance(operator.inputs[0].type, FloatTensorType):
        narrow = scope.get_unique_variable_name("rows")
        _add(scope, container, "Cast", [rows], narrow, to=FLOAT)
        rows = narrow
    rows = _whole_codes(scope, container, ensemble, rows)
    sums: str = scope.get_unique_variable_name("sums")
    container.add_node(
        "TreeEnsembleRegressor",
        [rows],
        [sums],
        name=scope.get_unique_operator_name("Trees"),
        op_domain=ML,
        n_targets=ensemble.targets,
        base_values=list(ensemble.base),
        **ensemble.attributes,
    )
    return sums


def _whole_codes(scope: Any, container: Any, ensemble: Ensemble, rows: str) -> str:
    """Cuts the fraction off the codes of categories, as both libraries do before they compare.

    XGBoost takes no code below 0 for a category, LightGBM takes -0.5 for 0.
    """
    modes = ensemble.attributes["nodes_modes"]
    features = ensemble.attributes["nodes_featureids"]
    columns = {f for f, mode in zip(features, modes, strict=True) if mode == "BRANCH_EQ"}
    if not columns:
        return rows
    width = max(features) + 1  # columns behind the last that is looked at are cut off
    first, last, axis = (scope.get_unique_variable_name(n) for n in ("first", "last", "axis"))
    for name, value in ((first, 0), (last, width), (axis, 1)):
        container.add_initializer(name, INT64, [1], [value])
    cut: str = scope.get_unique_variable_name("cut")
    kept, is_code, whole = (scope.get_unique_variable_name(n) for n in ("kept", "is_code", "whole"))
    _add(scope, container, "Slice", [rows, first, last, axis], kept)
    container.add_initializer(is_code, BOOL, [1, width], [i in columns for i in range(width)])
    if ensemble.floors:
        _add(scope, container, "Floor", [kept], whole)
    else:
        sign, size, floor = (scope.get_unique_variable_name(n) for n in ("sign", "size", "floor"))
        _add(scope, container, "Sign", [kept], sign)
        _add(scope, container, "Abs", [kept], size)
        _add(scope, container, "Floor", [size], floor)
        _add(scope, container, "Mul", [sign, floor], whole)
    _add(scope, container, "Where", [is_code, whole, kept], cut)
    return cut


def _add(
    scope: Any, container: Any, kind: str, inputs: list[str], output: str, **attributes: Any
) -> None:
    name = scope.get_unique_operator_name(kind)
    container.add_node(kind, inputs, [output], name=name, **attributes)
