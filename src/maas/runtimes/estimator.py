"""What a scikit-learn estimator takes and gives, seen as tensors.

The same rules describe a model at publish and feed it when it serves, so the two cannot drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.runtimes.text import to_bytes, to_str

Kind = Literal["classifier", "regressor", "clusterer", "outlier_detector", "transformer"]

METHODS = {
    "label": "predict",
    "prediction": "predict",
    "probabilities": "predict_proba",
    "output": "transform",
}
"""Output name → the estimator's method that gives it."""


LIBRARIES = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
"""Modules whose estimators take rows of numbers as scikit-learn's do."""


class Column(Struct, frozen=True):
    """One column of a table of mixed types.

    Args:
        name: its own.
        position: in the table that the model was fitted on.
        text: whether it holds strings.
        integer: whether it holds whole numbers, and is to stay so.
    """

    name: str
    position: int
    text: bool
    integer: bool = False


class Layout(Struct, frozen=True):
    """How an estimator wants its rows.

    Args:
        kind: `numbers` (a matrix of floats), `text` (one text a row), `words` (a matrix of
            strings), `columns` (a table of numbers and strings, one input a column), `frame`
            (the same, as a pandas DataFrame, for code that asks for columns by name).
        width: columns of the matrix; None where the estimator does not say.
        columns: of a table, those the model looks at.
        names: what the columns of a matrix were called when it was fitted.
    """

    kind: Literal["numbers", "text", "words", "columns", "frame"]
    width: int | None
    columns: tuple[Column, ...] = ()
    names: tuple[str, ...] = ()


def kind_of(estimator: Any) -> Kind:
    """What sort of answers an estimator gives.

    Raises:
        MaasError: FAILED_PRECONDITION for something that cannot answer about new rows.
    """
    from sklearn import base

    if hasattr(estimator, "predict"):
        if not hasattr(estimator, "__sklearn_tags__"):  # somebody's own class
            scores = hasattr(estimator, "predict_proba") or hasattr(estimator, "classes_")
            return "classifier" if scores else "regressor"
        if base.is_classifier(estimator):
            return "classifier"
        if base.is_outlier_detector(estimator):
            return "outlier_detector"
        # A ranker's scores are numbers; scikit-learn has no such kind.
        if base.is_regressor(estimator) or type(estimator).__name__.endswith("Ranker"):
            return "regressor"
        return "clusterer"
    if hasattr(estimator, "transform"):
        return "transformer"
    raise MaasError(
        ErrorKind.FAILED_PRECONDITION,
        f"a {type(estimator).__name__} has neither predict nor transform, so it cannot answer "
        "about new rows; expected a fitted estimator that has one of them",
    )


def outputs_of(estimator: Any) -> tuple[str, ...]:
    """Names of an estimator's outputs, in order; each is a key of `METHODS`."""
    kind = kind_of(estimator)
    if kind == "transformer":
        return ("output",)
    if kind == "regressor":
        return ("prediction",)
    # With several targets the probabilities are a list of matrices, which is no tensor.
    several = isinstance(getattr(estimator, "classes_", None), list)
    if hasattr(estimator, "predict_proba") and not several:
        return ("label", "probabilities")
    return ("label",)


def first_steps(estimator: Any) -> Iterator[Any]:
    """The estimators that see the caller's rows as they came."""
    name = type(estimator).__name__
    if name == "Pipeline":
        steps = [step for _, step in estimator.steps if not _is_nothing(step)]
        if steps:
            yield from first_steps(steps[0])
    elif name == "FeatureUnion":
        for _, step in estimator.transformer_list:
            if not isinstance(step, str):
                yield from first_steps(step)
    elif hasattr(estimator, "best_estimator_"):
        yield from first_steps(estimator.best_estimator_)
    else:
        yield estimator


def is_stock(part: Any) -> bool:
    """Whether a part is a library's own, all of whose behaviour is written in its parameters."""
    library = type(part).__module__.partition(".")[0] in LIBRARIES
    return library and getattr(part, "func", None) is None


def entry_parts(estimator: Any) -> Iterator[Any]:
    """The parts that see the caller's rows as they came, inside `ColumnTransformer`s as well."""
    for first in first_steps(estimator):
        if type(first).__name__ == "ColumnTransformer":
            for _, inner, _ in first.transformers_:
                if not isinstance(inner, str):
                    yield from entry_parts(inner)
        else:
            yield first


def layout_of(estimator: Any) -> Layout:
    """How the estimator wants its rows.

    Raises:
        MaasError: FAILED_PRECONDITION for rows that no tensor carries (dictionaries).
    """
    firsts = list(first_steps(estimator))
    if not firsts:
        return Layout("numbers", _width(estimator))
    names = [type(first).__name__ for first in firsts]
    for name in names:
        if name in ("DictVectorizer", "FeatureHasher"):
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION,
                f"a {name} takes dictionaries, which no tensor carries; begin the pipeline with "
                "an estimator that takes numbers, strings or texts",
            )
    if all(_is_vectoriser(first) for first in firsts):
        return Layout("text", None)
    first, width = firsts[0], _width(estimator)
    known = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    if names[0] == "ColumnTransformer":
        columns = _columns(first, known)
        if any(column.text for column in columns):
            if not known and all(c.text for c in columns) and len(columns) == width:
                return Layout("words", width)
            return Layout("columns", width, columns)
        return Layout("numbers", width, names=known)
    texts = _text_columns(first, width or 0)
    if not any(texts):
        return Layout("numbers", width, names=known)
    if all(texts):
        return Layout("words", width, names=known)
    labels = known or tuple(f"x{position}" for position in range(len(texts)))
    columns = tuple(Column(labels[i], i, text) for i, text in enumerate(texts))
    return Layout("columns", width, columns)


def by_position(estimator: Any) -> Any:
    """Makes a leading `ColumnTransformer` choose its columns by position, not by name.

    By name it wants a data frame; rows here are plain arrays in the fitted order.
    """
    for first in first_steps(estimator):
        if type(first).__name__ == "ColumnTransformer":
            placed = []
            for name, step, columns in first.transformers_:
                indices = first._transformer_to_input_indices[name]
                single = isinstance(columns, str | int)
                placed.append((name, step, indices[0] if single else list(indices)))
            first.transformers_ = placed
    return estimator


def rows_for(layout: Layout, inputs: Tensors) -> Any:
    """Puts tensors into the form an estimator takes.

    Args:
        layout: of the estimator.
        inputs: `text` BYTES [n]; or `x` [n, width]; or one [n] for each column of the layout.

    Returns:
        A list of str, a float64 or object matrix [n, width], a DataFrame.
    """
    if layout.kind == "text":
        return to_str("text", inputs["text"]).tolist()
    if layout.kind == "words":
        return to_str("x", inputs["x"])
    if layout.kind == "numbers":
        return inputs["x"].astype(np.float64)
    if layout.kind == "frame":
        import pandas as pd

        return pd.DataFrame({c.name: _cells(c, inputs[c.name]) for c in layout.columns})
    first = inputs[layout.columns[0].name]
    table = np.empty((len(first), layout.width or len(layout.columns)), dtype=object)
    for column in layout.columns:
        table[:, column.position] = _cells(column, inputs[column.name])
    return table


def _cells(column: Column, values: np.ndarray) -> np.ndarray:
    """A column's values as the estimator was fitted on them: str, int64 or float64."""
    if column.text:
        return to_str(column.name, values)
    return values.astype(np.int64 if column.integer else np.float64)


def answer(estimator: Any, names: tuple[str, ...], rows: Any) -> dict[str, np.ndarray]:
    """The estimator's own answers under their output names, dtypes as they come."""
    answers: dict[str, np.ndarray] = {}
    for name in names:
        value = getattr(estimator, METHODS[name])(rows)
        if hasattr(value, "toarray"):
            value = value.toarray()
        answers[name] = np.asarray(value)
    return answers


def as_tensor(value: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """One of `answer`'s arrays in the dtype that its spec promises.

    Raises:
        MaasError: INVALID_ARGUMENT where a value has no place in that dtype.
    """
    if spec.dtype is DType.BYTES:
        return to_bytes(value)
    try:
        return value.astype(spec.dtype.numpy, copy=False)
    except (TypeError, ValueError):
        raise invalid(f"the model's {spec.name!r} for these rows is not {spec.dtype}") from None


def _is_nothing(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _is_vectoriser(step: Any) -> bool:
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    return isinstance(step, CountVectorizer | HashingVectorizer)


def _width(estimator: Any) -> int | None:
    width = getattr(estimator, "n_features_in_", None)
    if width is None and any(
        type(step).__name__ == "IsotonicRegression" for step in first_steps(estimator)
    ):
        return 1
    return None if width is None else int(width)


def _text_columns(step: Any, width: int) -> list[bool]:
    """Which columns of a step's input are strings."""
    categories = getattr(step, "categories_", None)
    if categories is not None:
        return [_holds_text(values) for values in categories]
    statistics = getattr(step, "statistics_", None)
    if isinstance(statistics, np.ndarray) and statistics.dtype == object:
        return [isinstance(value, str) for value in statistics]
    return [_is_vectoriser(step)] * width


def _holds_text(values: np.ndarray) -> bool:
    return values.dtype.kind in "UST" or (
        values.dtype == object and any(isinstance(value, str) for value in values)
    )


def _columns(step: Any, known: tuple[str, ...]) -> tuple[Column, ...]:
    """The columns that a `ColumnTransformer` looks at, in the fitted order."""
    text: dict[int, bool] = {}
    for name, inner, _ in step.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        indices = [int(index) for index in step._transformer_to_input_indices[name]]
        flags = [False] * len(indices)
        if not isinstance(inner, str):
            for first in first_steps(inner):
                flags = _text_columns(first, len(indices)) or flags
                break
        for index, flag in zip(indices, flags, strict=True):
            text[index] = text.get(index, False) or flag
    return tuple(
        Column(known[i] if known else f"x{i}", i, flag) for i, flag in sorted(text.items())
    )
