"""An MLflow model's own input example, as rows to prove it on."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError
from maas.publish.detect_folder import MLMODEL, inside
from maas.publish.mlflow_model import MlflowFolder
from maas.publish.mlflow_yaml import read_text

ENOUGH = 16
"""Rows from which on an example proves more than rows that are drawn."""
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
"""Keys of a body of `/invocations`, and `inputs` of an example that came with params."""


class Example(Struct, frozen=True):
    """An example as a sample file.

    Args:
        file: written for `sample_file` and `sample_table` to read.
        rows: how many it holds.
    """

    file: Path
    rows: int


def write_example(model: MlflowFolder, work: Path) -> tuple[Example | None, str]:
    """Writes the model's example as a sample file.

    Args:
        model: says where it lies.
        work: the folder to write to.

    Returns:
        The sample, None where there is none that can be used; then why, or empty.
    """
    named = [model.example.get(key) for key in ("serving_input_path", "artifact_path")]
    name = next((name for name in named if isinstance(name, str)), None)
    if name is None:
        return None, ""
    try:
        columns = _columns(json.loads(read_text(inside(model.folder, name, MLMODEL))))
        rows = {len(array) for array in columns.values()}
        if len(rows) != 1 or not min(rows):
            raise ValueError("its columns have different lengths")
        return Example(_write(columns, work), rows.pop()), ""
    except (MaasError, ValueError, TypeError, LookupError, RecursionError) as error:
        why = error.message if isinstance(error, MaasError) else "it holds no rows"
        return None, f"the model's input example was not used: {why}"


def _write(columns: dict[str, np.ndarray], work: Path) -> Path:
    if all(array.dtype != object for array in columns.values()):
        file = work / "example.npz"
        # Not with np.savez, whose own arguments have the names of some people's columns.
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in columns.items():
                with archive.open(f"{name or 'input'}.npy", "w") as stream:
                    np.save(stream, array)
        return file
    file = work / "example.json"
    bare = len(columns) == 1 and "" in columns
    said = {name: array.tolist() for name, array in columns.items()}
    file.write_text(json.dumps(said[""] if bare else said))
    return file


def _columns(value: Any) -> dict[str, np.ndarray]:
    """Arrays by name; one without a name stands under the empty one.

    Raises:
        ValueError: it is no table and no array.
    """
    if isinstance(value, dict):
        inner = next((key for key in FORMS if key in value), None)
        if inner is not None:
            return _columns(value[inner])
        if "data" in value and value.keys() <= {"columns", "data", "index"}:
            names, data = value.get("columns"), value["data"]
            if names is None:
                return {"": _array(data)}
            return {
                str(name): _array([row[place] for row in data]) for place, name in enumerate(names)
            }
        return {str(name): _array(cells) for name, cells in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {str(name): _array([row[name] for row in value]) for name in value[0]}
    return {"": _array(value)}


def _array(cells: Any) -> np.ndarray:
    array = np.asarray(cells, dtype=object)
    flat = array.ravel().tolist()
    if not flat or not array.ndim:
        raise ValueError("no rows")
    if any(isinstance(cell, str) for cell in flat):
        if array.ndim > 2:
            raise ValueError("texts of many axes")
        texts = np.empty(len(flat), dtype=object)
        texts[:] = ["" if cell is None else str(cell) for cell in flat]
        return texts.reshape(array.shape)
    if all(isinstance(cell, int) for cell in flat):
        return array.astype(np.int64)
    return np.array(
        [float("nan") if cell is None else float(cell) for cell in flat], dtype=np.float64
    ).reshape(array.shape)
