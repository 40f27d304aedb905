"""Reads a publisher's rows for a model that does not say what it takes: they say it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.publish.sample_file import ENDINGS, MOST_BYTES
from maas.runtimes.estimator import Column, Layout

TRUTH = {"True": 1, "False": 0, "true": 1, "false": 0}
"""As pandas and polars write truth values to a CSV."""
MISSING = ("", "nan", "NaN", "NA", "null")


def read_table(path: Path, name: str) -> dict[str, np.ndarray] | np.ndarray:
    """Reads rows as they are.

    Args:
        path: the file.
        name: what the publisher called it; its ending says how it is read.

    Returns:
        Arrays [rows] by column, where the file names its columns; else one array. Texts are
        object arrays of str, whole numbers int64, other numbers float64.

    Raises:
        MaasError: INVALID_ARGUMENT for a file that cannot be read, TOO_LARGE.
    """
    if path.stat().st_size > MOST_BYTES:
        raise MaasError(ErrorKind.TOO_LARGE, "the sample file is larger than 256 MiB")
    ending = name.lower().rsplit(".", 1)[-1]
    readers = {"npy": _npy, "npz": _npz, "json": _json, "csv": _csv}
    if ending not in readers:
        raise invalid(f"the sample {name[-40:]!r} is not read here; {ENDINGS}")
    try:
        return readers[ending](path)
    except (ValueError, TypeError, LookupError, RecursionError, EOFError, csv.Error) as error:
        raise invalid(
            f"the sample {name[-40:]!r} does not hold rows; expected a table with the names of "
            "its columns, or an array"
        ) from error


def layout_from(table: dict[str, np.ndarray] | np.ndarray, known: tuple[str, ...]) -> Layout:
    """How the rows of a sample are to be given to the model.

    Args:
        table: of `read_table`.
        known: the columns that the model was fitted on, where it says so.

    Raises:
        MaasError: INVALID_ARGUMENT where a column is missing, or the rows are no rows.
    """
    if not isinstance(table, dict):
        texts = table.dtype == object
        if table.ndim == 1 and texts:
            return Layout("text", None)
        if table.ndim != 2:
            raise invalid(
                f"the sample is an array with {table.ndim} axes; expected one row a line: a table "
                "with named columns, a matrix, or a list of texts"
            )
        return Layout("words" if texts else "numbers", table.shape[1])
    missing = [name for name in known if name not in table]
    if missing:
        raise invalid(
            f"the sample lacks the column {missing[0]!r}; the model was fitted on "
            f"{', '.join(known[:20])}"
        )
    columns = (
        Column(name, position, table[name].dtype == object, table[name].dtype.kind in "iu")
        for position, name in enumerate(known or table)
    )
    return Layout("frame", len(known or table), tuple(columns), known)


def _npy(path: Path) -> dict[str, np.ndarray] | np.ndarray:
    return _plain(np.load(path, allow_pickle=False))


def _npz(path: Path) -> dict[str, np.ndarray] | np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: _plain(archive[name]) for name in archive.files}
    if len(arrays) == 1 and next(iter(arrays.values())).ndim != 1:
        return next(iter(arrays.values()))
    return _same_length(arrays)


def _json(path: Path) -> dict[str, np.ndarray] | np.ndarray:
    value = json.loads(path.read_bytes())
    if isinstance(value, dict) and len(value) == 1:
        (inner,) = value.values()
        if isinstance(inner, list) and inner and isinstance(inner[0], list | dict):
            value = inner
    if isinstance(value, dict):
        return _same_length({name: _cells(cells) for name, cells in value.items()})
    if not isinstance(value, list) or not value:
        raise ValueError("no rows")
    if isinstance(value[0], dict):
        return _same_length({name: _cells([row[name] for row in value]) for name in value[0]})
    if isinstance(value[0], list):
        flat = _cells([cell for row in value for cell in row])
        return flat.reshape(len(value), len(value[0]))
    return _cells(value)


def _csv(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("gb18030")
    head, *rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows or len(set(head)) != len(head) or any(len(row) != len(head) for row in rows):
        raise ValueError("not a table")
    return {name: _from_texts([row[i] for row in rows]) for i, name in enumerate(head)}


def _from_texts(cells: list[str]) -> np.ndarray:
    """A column of a CSV: whole numbers, truth values as 0 and 1, numbers with gaps, or texts."""
    if all(cell in TRUTH for cell in cells):
        return np.array([TRUTH[cell] for cell in cells], dtype=np.int64)
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        values = [float("nan") if cell.strip() in MISSING else float(cell) for cell in cells]
        return np.array(values, dtype=np.float64)
    except ValueError:
        return _objects(cells)


def _cells(cells: Any) -> np.ndarray:
    """A column of JSON, where null is a missing number."""
    if not isinstance(cells, list) or not cells:
        raise ValueError("not a column")
    if all(isinstance(cell, int) for cell in cells):
        return np.array(cells, dtype=np.int64)
    if any(isinstance(cell, str) for cell in cells):
        return _objects(["" if cell is None else str(cell) for cell in cells])
    return np.array([float("nan") if cell is None else cell for cell in cells], dtype=np.float64)


def _plain(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "US":
        flat = _objects([v.decode() if isinstance(v, bytes) else v for v in array.ravel().tolist()])
        return flat.reshape(array.shape)
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise TypeError("neither numbers nor texts")
    return array.astype(np.float64)


def _objects(values: list[str]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _same_length(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if len({len(array) for array in columns.values()}) != 1 or not columns:
        raise ValueError("columns of different lengths")
    if any(array.ndim != 1 for array in columns.values()):
        raise ValueError("a column is no column")
    return columns
