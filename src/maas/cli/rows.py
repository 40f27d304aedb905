"""Reads what `maas predict -f` is given: CSV, JSON, `.npy`, `.npz`."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from maas.core.errors import invalid
from maas.core.tensor import DType, TensorSpec

TRUTH = {"True": 1, "False": 0, "true": 1, "false": 0}
"""As pandas and polars write truth values to a CSV."""


def read_input(content: bytes, specs: Sequence[TensorSpec], name: str) -> Any:
    """Recognises a file by its content and reads it as `Client.predict` takes it.

    Args:
        content: the whole file.
        specs: the model's inputs: columns of numbers and of texts are told apart by them.
        name: what to call the file in an error.

    Raises:
        MaasError: INVALID_ARGUMENT for a file that is none of these, or is broken.
    """
    if content.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return _read_numpy(content, name)
    if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
        return read_json(decode_text(content, name), name)
    return read_csv(decode_text(content, name), specs, name)


def decode_text(content: bytes, name: str) -> str:
    """Decodes UTF-8, with or without a byte-order mark, else GB18030.

    Raises:
        MaasError: INVALID_ARGUMENT for neither.
    """
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise invalid(f"{name} is not text; expected CSV, JSON, .npy or .npz")


def read_json(text: str, name: str) -> Any:
    """Reads JSON; a list of objects becomes columns.

    Raises:
        MaasError: INVALID_ARGUMENT for not JSON, too deep, or objects of different keys.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        quotes = "" if error.pos else "; a text stands in double quotes, as '\"Hello\"'"
        raise invalid(
            f"{name} is not JSON: {error.msg} at line {error.lineno} column {error.colno}{quotes}"
        ) from None
    except RecursionError:
        raise invalid(f"{name} is JSON nested too deep") from None
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        keys = list(value[0])
        for number, row in enumerate(value, 1):
            if set(row) != set(keys):
                raise invalid(f"{name}: row {number} has other keys than row 1")
        return {key: [row[key] for row in value] for key in keys}
    return value


def read_csv(text: str, specs: Sequence[TensorSpec], name: str) -> Any:
    """Reads CSV with or without a header.

    The first row is a header if its cells are names of inputs, or if none of them is a number
    while every input is numeric.

    Returns:
        Columns under their names; without a header, rows of the only input.

    Raises:
        MaasError: INVALID_ARGUMENT for no rows, uneven rows, a cell that is no number.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise invalid(f"{name} is not CSV: {error}") from None
    if not rows:
        raise invalid(f"{name} is empty; expected rows of values")
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise invalid(f"{name}: row {number} has {len(row)} cells; row 1 has {width}")
    textual = {spec.name for spec in specs if spec.dtype is DType.BYTES}
    all_text = len(textual) == len(specs)
    header = [cell.strip() for cell in rows[0]]
    if not _is_header(header, specs, numeric=not textual):
        if len(specs) != 1:
            names = ", ".join(spec.name for spec in specs)
            raise invalid(f"{name} has no header; expected the columns {names}")
        values = rows if all_text else [_numbers(row, name, n) for n, row in enumerate(rows, 1)]
        flat = width == 1 and len(specs[0].shape) == 1
        return [row[0] for row in values] if flat else values
    if len(set(header)) != width:
        raise invalid(f"{name} has a column name twice; rename one")
    body = rows[1:]
    if not body:
        raise invalid(f"{name} has a header and no rows")
    columns: dict[str, list[Any]] = {}
    for index, column in enumerate(header):
        cells = [row[index] for row in body]
        is_text = all_text or column in textual
        columns[column] = cells if is_text else _numbers(cells, f"{name}, column {column}", None)
    return columns


def _is_header(cells: Sequence[str], specs: Sequence[TensorSpec], *, numeric: bool) -> bool:
    if set(cells) & {spec.name for spec in specs}:
        return True
    return numeric and not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    if cell in TRUTH:
        return True
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def _numbers(cells: Sequence[str], where: str, row: int | None) -> list[float | int]:
    """Reads numbers, whole ones as int, truth values as 1 and 0; an empty cell is NaN."""
    place = where if row is None else f"{where}, row {row}"
    return [_number(cell, place) for cell in cells]


def _number(cell: str, place: str) -> float | int:
    if cell in TRUTH:
        return TRUTH[cell]
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        return float(cell) if cell.strip() else float("nan")
    except ValueError:
        raise invalid(f"{place}: {cell[:40]!r} is not a number") from None


def _read_numpy(content: bytes, name: str) -> Any:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile):
        raise invalid(
            f"{name} is not a readable .npy or .npz file without Python objects"
        ) from None
