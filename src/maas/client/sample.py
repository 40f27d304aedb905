"""Rows to prove on, as a publisher holds them → one file that the server reads without pickle.

DataFrames are recognised by their shape, never by their type: neither pandas nor polars is
imported.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maas.client.files import Member, one_file
from maas.core.errors import invalid

MOST_ROWS = 4096
"""Rows of a table or array that are sent: a proof needs variety, not the whole training set."""


def sample_file(sample: Any) -> Member:
    """Makes the upload's sample.

    Args:
        sample: a file; an array, list or Series (sent as `.npy`); a DataFrame or a mapping of
            input or column names to arrays (sent as `.npz`, so that every column keeps its type).
            Of more than `MOST_ROWS` rows, that many are taken, evenly spaced.

    Raises:
        MaasError: INVALID_ARGUMENT for a file that is not there, rows of different lengths, types
            that no tensor carries, or texts that are all missing.
    """
    if isinstance(sample, (str, os.PathLike)):
        path = Path(sample).expanduser()
        return one_file(path, f"sample/{path.name}")
    if hasattr(sample, "columns") and hasattr(sample, "__getitem__"):
        return _npz(_table(sample))
    if isinstance(sample, Mapping):
        return _npz({str(key): _plain(value, repr(str(key))) for key, value in sample.items()})
    if hasattr(sample, "toarray"):  # SciPy's sparse matrices
        sample = sample[_spread(sample.shape[0])].toarray()
    buffer = io.BytesIO()
    array = _plain(sample, "the sample")
    array = array[_spread(len(array))] if array.ndim else array
    np.save(buffer, array, allow_pickle=False)
    data = buffer.getvalue()
    return Member("sample/sample.npy", len(data), data=data)


def _table(frame: Any) -> dict[str, np.ndarray]:
    """A DataFrame's columns, each of its own type, without the rows whose text is missing."""
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        raise invalid("the sample has a column name twice; rename one")
    columns = {str(name): np.asarray(frame[name].to_numpy()) for name in frame.columns}
    rows = len(next(iter(columns.values()), ()))
    whole = np.ones(rows, dtype=bool)
    for array in columns.values():
        if array.dtype == object and any(isinstance(each, str) for each in array.tolist()):
            # No tensor carries a missing text, and "nan" would be one that is not missing.
            whole &= np.array([isinstance(each, (str, bytes)) for each in array.tolist()])
    if rows and not whole.any():
        raise invalid("every row of the sample lacks a text; give rows whose texts are all there")
    kept = np.flatnonzero(whole)
    kept = kept[_spread(len(kept))]
    return {name: _plain(array[kept], f"column {name!r}") for name, array in columns.items()}


def _spread(rows: int) -> np.ndarray:
    """Indices of at most MOST_ROWS rows over all of them: data is often sorted by class."""
    if rows <= MOST_ROWS:
        return np.arange(rows)
    return np.linspace(0, rows - 1, MOST_ROWS).astype(np.int64)


def _plain(values: Any, what: str) -> np.ndarray:
    """Makes an array that can be saved without pickle: object arrays become text or numbers."""
    try:
        array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
        if array.dtype == object:
            listed = array.tolist()
            if array.ndim == 1:
                listed = [float("nan") if _is_missing(each) else each for each in listed]
            array = np.asarray(listed)
    except ValueError:
        raise invalid(f"{what} has rows of different lengths; expected a full array") from None
    if array.dtype == object:
        raise invalid(f"{what} mixes types in one array; send one array per input, or a file")
    if array.dtype.kind not in "biufUS":
        raise invalid(
            f"{what} holds {array.dtype}, which no tensor carries; turn it into numbers or text"
        )
    return array


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _npz(arrays: Mapping[str, np.ndarray]) -> Member:
    # As np.savez writes it, which cannot take an array called "file" and stamps the time.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    data = buffer.getvalue()
    return Member("sample/sample.npz", len(data), data=data)
