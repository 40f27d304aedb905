"""Reads the rows that a publisher gave to prove the model on."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import describe_spec
from maas.core.tensor import DType, TensorSpec

MOST_BYTES = 256 << 20
ENDINGS = "expected .npy, .npz, .json or .csv"


def read_sample(
    path: Path, name: str, specs: tuple[TensorSpec, ...], most: int
) -> dict[str, np.ndarray]:
    """Reads rows for a model's inputs.

    Args:
        path: the file.
        name: what the publisher called it; its ending says how it is read.
        specs: the inputs.
        most: rows kept, evenly spaced over those given.

    Returns:
        Arrays [rows, …] of the specs' dtypes.

    Raises:
        MaasError: INVALID_ARGUMENT for a file that cannot be read or does not fit, TOO_LARGE.
    """
    if path.stat().st_size > MOST_BYTES:
        raise MaasError(ErrorKind.TOO_LARGE, "the sample file is larger than 256 MiB")
    ending = name.lower().rsplit(".", 1)[-1]
    readers = {"npy": _npy, "npz": _npz, "json": _json, "csv": _csv}
    if ending not in readers:
        raise invalid(f"the sample {name[-40:]!r} is not read here; {ENDINGS}")
    try:
        columns = readers[ending](path, specs)
        return {spec.name: _fit(spec, columns, most) for spec in specs}
    except (ValueError, TypeError, KeyError, RecursionError, EOFError, csv.Error) as error:
        wanted = ", ".join(describe_spec(spec) for spec in specs)
        raise invalid(
            f"the sample {name[-40:]!r} does not hold rows for this model; expected {wanted}"
        ) from error


def _fit(spec: TensorSpec, columns: dict[str, Any], most: int) -> np.ndarray:
    value = columns[spec.name]
    if spec.dtype is DType.BYTES:
        array = np.asarray(value, dtype=object)
        flat = np.empty(array.size, dtype=object)
        flat[:] = [v if isinstance(v, bytes) else str(v).encode() for v in array.ravel().tolist()]
        array = flat.reshape(array.shape)
    else:
        array = np.asarray(value)
        if array.dtype == object or array.dtype.kind in "US":
            array = np.asarray(array.tolist(), dtype=np.float64)
        array = array.astype(spec.dtype.numpy)
    if array.ndim == 2 and len(spec.shape) == 1 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != len(spec.shape) or not array.size:
        raise ValueError("rank")
    if any(want not in (None, got) for want, got in zip(spec.shape, array.shape, strict=True)):
        raise ValueError("shape")
    return array[spread(len(array), most)] if spec.shape[:1] == (None,) else array


def spread(rows: int, most: int) -> np.ndarray:
    """Indices of at most `most` rows over all of them: data is often sorted by its class."""
    if rows <= most:
        return np.arange(rows)
    return np.linspace(0, rows - 1, most).astype(np.int64)


def _npy(path: Path, specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("not one array")
    return _by_name(array, specs)


def _npz(path: Path, specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if len(specs) != 1 or specs[0].name in arrays:
        return arrays
    columns = list(arrays.values())
    if len(specs[0].shape) == 2 and all(column.ndim == 1 for column in columns):
        # A DataFrame's columns, for a model that takes them as one matrix.
        return {specs[0].name: np.stack(columns, axis=1)}
    return {specs[0].name: columns[0]} if len(columns) == 1 else arrays


def _json(path: Path, specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    value = json.loads(path.read_bytes())
    if isinstance(value, dict):
        for key in ("input_data", "instances", "inputs", "data"):
            if key in value and key not in {spec.name for spec in specs}:
                value = value[key]
                break
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {spec.name: [row[spec.name] for row in value] for spec in specs}
    if isinstance(value, dict):
        return value
    if len(specs) == 1:
        return {specs[0].name: value}
    return _by_name(np.asarray(value, dtype=object), specs)


def _csv(path: Path, specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("gb18030")
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows:
        raise ValueError("no rows")
    names = {spec.name for spec in specs}
    if names & set(rows[0]):
        return {name: [row[rows[0].index(name)] for row in rows[1:]] for name in names}
    if len(specs) == 1 and specs[0].dtype is not DType.BYTES:
        return {specs[0].name: [[_number(cell) for cell in row] for row in _body(rows)]}
    return _by_name(np.asarray(rows, dtype=object), specs)


def _body(rows: list[list[str]]) -> list[list[str]]:
    """Without a line of headings, which holds something that is no number."""
    try:
        [_number(cell) for cell in rows[0]]
    except ValueError:
        return rows[1:]
    return rows


def _number(cell: str) -> float:
    return float(cell) if cell.strip() else float("nan")


def _by_name(array: np.ndarray, specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    if len(specs) == 1:
        return {specs[0].name: array}
    if array.ndim != 2 or array.shape[1] != len(specs):
        raise ValueError("columns")
    return {spec.name: array[:, i] for i, spec in enumerate(specs)}
