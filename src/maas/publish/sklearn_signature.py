"""The signature of a scikit-learn estimator, found by asking it."""

from __future__ import annotations

from typing import Any

import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.runtimes.estimator import Column, Layout, kind_of

MOST_NAMES = 1000
"""Columns beyond which their names are left out: every answer about the model repeats them."""


def input_specs(layout: Layout, number: DType) -> tuple[TensorSpec, ...]:
    """The inputs of an estimator.

    Args:
        layout: how it wants its rows.
        number: FP32 or FP64, the type of numeric inputs.

    Raises:
        MaasError: FAILED_PRECONDITION where it does not say how many features it takes.
    """
    if layout.kind == "text":
        return (TensorSpec("text", DType.BYTES, (None,)),)
    if layout.kind in ("columns", "frame"):
        return tuple(
            TensorSpec(column.name, _column_dtype(column, number), (None,))
            for column in layout.columns
        )
    if layout.width is None:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            "the estimator does not say how many features it was fitted on (n_features_in_); "
            "put it into a pipeline that does, such as one that begins with a StandardScaler",
        )
    dtype = DType.BYTES if layout.kind == "words" else number
    names = layout.names if 0 < len(layout.names) <= MOST_NAMES else None
    return (TensorSpec("x", dtype, (None, layout.width), names),)


def _column_dtype(column: Column, number: DType) -> DType:
    if column.text:
        return DType.BYTES
    return DType.INT64 if column.integer else number


def sklearn_signature(estimator: Any, layout: Layout, answers: Tensors, number: DType) -> Signature:
    """The signature, output types and shapes taken from real answers.

    Args:
        estimator: fitted.
        layout: how it wants its rows.
        answers: its own, to a few rows, under the output names.
        number: FP32 or FP64, the type of numeric inputs and outputs.

    Raises:
        MaasError: INVALID_ARGUMENT for answers that no tensor carries.
    """
    classes = _class_names(estimator)
    specs = []
    for name, value in answers.items():
        dtype = _dtype(name, value, number)
        labels = None
        if name == "probabilities" and len(classes) == value.shape[-1]:
            labels = classes
        # A label that is a number is an index into the names only where the classes are 0 to n-1.
        if name == "label" and (
            dtype is DType.BYTES or classes == tuple(str(i) for i in range(len(classes)))
        ):
            labels = classes or None
        specs.append(TensorSpec(name, dtype, (None, *value.shape[1:]), labels))
    return Signature(DEFAULT_SIGNATURE, input_specs(layout, number), tuple(specs), batched=False)


def _class_names(estimator: Any) -> tuple[str, ...]:
    classes = getattr(estimator, "classes_", None)
    if kind_of(estimator) != "classifier" or not isinstance(classes, np.ndarray):
        return ()
    if classes.dtype.kind == "f" and np.all(classes == np.floor(classes)):
        classes = classes.astype(np.int64)
    return tuple(str(name) for name in classes.tolist())


def _dtype(name: str, value: np.ndarray, number: DType) -> DType:
    if value.ndim == 0:
        raise invalid(f"the model's {name} is one value for all rows; expected one a row")
    kind = value.dtype.kind
    if kind == "f":
        whole = name == "label" and bool(np.all(value == np.floor(value)))
        return DType.INT64 if whole else number
    if kind in "iu":
        return DType.INT64
    if kind == "b":
        return DType.BOOL
    if kind in "US" or all(isinstance(item, str) for item in value.ravel().tolist()):
        return DType.BYTES
    raise invalid(f"the model's {name} is of a type that no tensor carries ({value.dtype})")
