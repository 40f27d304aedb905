"""The rows that a scikit-learn model is proved on: given, or drawn from the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.tensor import DType
from maas.publish.batch import take
from maas.publish.draw_rows import draw_rows
from maas.publish.draw_text import draw_table, draw_texts, draw_words
from maas.publish.sample_file import read_sample, spread
from maas.publish.sample_table import read_table
from maas.publish.sklearn_signature import input_specs
from maas.runtimes.estimator import Column, Layout
from maas.runtimes.text import to_bytes

FEWEST = 256
"""Rows drawn at least, whatever the setting."""


class Samples(Struct, frozen=True):
    """Rows under the input names.

    Args:
        inputs: as a caller would send them; numbers are float32, so that the original and the
            lowered form see the same values.
        exact: the same rows before rounding to float32.
        source: `given`, or `model` (its own thresholds, vocabulary, scaler).
    """

    inputs: dict[str, np.ndarray]
    exact: dict[str, np.ndarray]
    source: str

    @property
    def count(self) -> int:
        """How many rows."""
        return len(next(iter(self.inputs.values())))

    def only(self, rows: np.ndarray) -> Samples:
        """Some of the rows."""
        return Samples(take(self.inputs, rows), take(self.exact, rows), self.source)

    def exactly(self) -> Samples:
        """The rows as float64, not rounded."""
        return Samples(self.exact, self.exact, self.source)


def draw_samples(estimator: Any, layout: Layout, count: int) -> Samples:
    """Draws rows from what the estimator has learnt."""
    count = max(count, FEWEST)
    drawn: dict[str, np.ndarray]
    if layout.kind == "text":
        drawn = {"text": draw_texts(estimator, count)}
    elif layout.kind == "words":
        drawn = {"x": draw_words(estimator, layout.width or 1, count)}
    elif layout.kind == "columns":
        drawn = draw_table(estimator, layout, count)
    else:
        width = input_specs(layout, DType.FP64)[0].shape[1] or 1
        drawn = {"x": draw_rows(estimator, width, count)}
    exact = {n: to_bytes(a) if a.dtype == object else a for n, a in drawn.items()}
    return Samples(_rounded(exact), exact, "model")


def given_samples(path: Path, name: str, layout: Layout, most: int) -> Samples:
    """Reads the publisher's rows.

    Raises:
        MaasError: INVALID_ARGUMENT where they do not fit the model.
    """
    exact = _by_column(path, name, layout, most)
    if exact is None:
        exact = read_sample(path, name, input_specs(layout, DType.FP64), most)
    return Samples(_rounded(exact), exact, "given")


def _by_column(path: Path, name: str, layout: Layout, most: int) -> dict[str, np.ndarray] | None:
    """The rows of a table, by the names of the columns that the model was fitted with.

    None where the model knows no names, or the file has others.
    """
    names = tuple(column.name for column in layout.columns) or layout.names
    if not names:
        return None
    table = read_table(path, name)
    if not isinstance(table, dict) or not set(names) <= set(table):
        return None
    rows = spread(len(table[names[0]]), most)
    columns = {name: table[name][rows] for name in names}
    if layout.columns:
        return {c.name: _cells(c, columns[c.name]) for c in layout.columns}
    if layout.kind == "words":
        return {"x": to_bytes(np.stack([a.astype(object) for a in columns.values()], axis=1))}
    if any(array.dtype == object for array in columns.values()):
        return None
    return {"x": np.stack([a.astype(np.float64) for a in columns.values()], axis=1)}


def _cells(column: Column, values: np.ndarray) -> np.ndarray:
    if column.text:
        return to_bytes(values.astype(object))
    if values.dtype == object:
        raise invalid(f"the sample's column {column.name!r} holds texts; expected numbers")
    return values.astype(np.int64 if column.integer else np.float64)


def _rounded(exact: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):
        return {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in exact.items()}
