"""A table → a signature's inputs: columns by name, or the columns of one matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.signature import Signature, describe_inputs
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tensorjson.arrays import flatten
from maas.dialects.tensorjson.leaves import leaves_to_array

NAMED = 12
"""Most column names that an error lists."""


class Table(Struct, frozen=True):
    """Columns of cells.

    Args:
        names: the columns', each once; None where they are known by their order alone.
        columns: their cells, as a JSON parser gives them: numbers, strings, null, lists. All
            columns have the same number of cells.
        texts: every cell is a string, as in a CSV file, whatever it stands for.
    """

    names: tuple[str, ...] | None
    columns: Sequence[list[Any]]
    texts: bool = False


def read_table(table: Table, signature: Signature) -> dict[str, np.ndarray]:
    """Reads columns as inputs, as MLflow enforces a model's schema: a further column is ignored.

    Several inputs are one column each, by name. An only input that is a matrix [n, k] takes k
    columns: those of `TensorSpec.labels` where they are known, else all of them in order. Any
    other only input takes the column of its name, or the only one. A missing cell is NaN among
    floats and an empty text among texts.

    Returns:
        Arrays of the inputs' dtypes; their shapes are for `check_inputs`.

    Raises:
        MaasError: INVALID_ARGUMENT for a missing column, or a cell that does not fit.
    """
    specs = signature.inputs
    if len(specs) > 1:
        names = table.names
        if names is None:
            if len(table.columns) != len(specs):
                raise _width(table, len(specs), signature)
            names = tuple(spec.name for spec in specs)
        _check_present(tuple(spec.name for spec in specs), names, signature)
        return {
            spec.name: _column(table, names.index(spec.name), spec, spec.name) for spec in specs
        }
    [spec] = specs
    return {spec.name: _only(table, spec, signature)}


def first_twice(names: Sequence[str]) -> str | None:
    """The first name that has stood before; None where each stands once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def with_batch_axis(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Adds the batch axis where a value came without: a row, or a bare value.

    A flat list for an input of shape [n, 1] is a column, one row for each element.
    """
    rank, want = array.ndim, len(spec.shape)
    if spec.shape == (None, 1) and rank < want:
        return array.reshape(-1, 1)
    if rank == want - 1 and spec.shape[0] in (None, 1):
        return array[np.newaxis]
    return array


def _only(table: Table, spec: TensorSpec, signature: Signature) -> np.ndarray:
    names, labels = table.names, spec.labels
    if names is not None and labels is not None and set(labels) <= set(names):
        return _matrix(table, [names.index(label) for label in labels], spec)
    if names is not None and spec.name in names:
        return _column(table, names.index(spec.name), spec, spec.name)
    if len(spec.shape) == 2:
        if names is not None and labels is not None:
            _check_present(labels, names, signature)
        if spec.shape[1] in (None, len(table.columns)):
            return _matrix(table, range(len(table.columns)), spec)
        raise _width(table, spec.shape[1] or 0, signature)
    if len(table.columns) == 1:
        return _column(table, 0, spec, names[0] if names else "0")
    raise _width(table, 1, signature)


def _matrix(table: Table, indices: Sequence[int], spec: TensorSpec) -> np.ndarray:
    if len(indices) == 1:
        return _column(table, indices[0], spec, _name(table, indices[0]))
    columns = []
    for index in indices:
        name = _name(table, index)
        column = _column(table, index, spec, name, flat=True)
        columns.append(column)
    return np.stack(columns, axis=1)


def _name(table: Table, index: int) -> str:
    return table.names[index] if table.names else str(index)


def _column(
    table: Table, index: int, spec: TensorSpec, name: str, *, flat: bool = False
) -> np.ndarray:
    what = f"column {name[:80]!r}"
    cells = table.columns[index]
    if table.texts:
        cells, shape = _from_texts(cells, spec, what), [len(cells)]
    else:
        cells, shape = flatten(cells, what)
        if flat and len(shape) > 1:
            raise invalid(f"{what} holds lists; expected single values, as {spec.name} is a table")
        cells = _fill(cells, spec)
    array = leaves_to_array(cells, shape, spec, what)
    return array if flat else with_batch_axis(array, spec)


def _fill(cells: list[Any], spec: TensorSpec) -> list[Any]:
    """What pandas makes of cells: a missing one is NaN, and truth values among numbers count."""
    kinds = set(map(type, cells))
    if kinds.isdisjoint((type(None), bool)):
        return cells
    if spec.dtype is DType.BYTES:
        return ["" if cell is None else cell for cell in cells]
    if spec.dtype.is_float:
        cells = [math.nan if cell is None else cell for cell in cells]
    if bool in kinds and spec.dtype is not DType.BOOL:
        cells = [int(cell) if type(cell) is bool else cell for cell in cells]
    return cells


_TRUTH = {"True": True, "False": False, "true": True, "false": False, "1": True, "0": False}
_MISSING = frozenset(("", "nan", "NaN", "NA", "N/A", "null", "NULL", "None"))


def _from_texts(cells: list[str], spec: TensorSpec, what: str) -> list[Any]:
    """The cells of a CSV column as values of the input's dtype."""
    if spec.dtype is DType.BYTES:
        return cells
    read = _reader(spec.dtype)
    values = []
    for row, cell in enumerate(cells):
        try:
            values.append(read(cell))
        except ValueError:
            raise invalid(
                f"{what} holds {cell[:40]!r} in row {row + 1}; expected {spec.dtype} for "
                f"{spec.name}"
            ) from None
    return values


def _reader(dtype: DType) -> Callable[[str], Any]:
    if dtype is DType.BOOL:
        return _truth
    return _real if dtype.is_float else _whole


def _truth(cell: str) -> bool:
    found = _TRUTH.get(cell.strip())
    if found is None:
        raise ValueError
    return found


def _whole(cell: str) -> int:
    text = cell.strip()
    if text in ("True", "False", "true", "false"):
        return int(_TRUTH[text])
    if "_" in text:
        raise ValueError
    return int(text)


def _real(cell: str) -> float:
    if "_" in cell:
        raise ValueError
    try:
        return float(cell)
    except ValueError:
        text = cell.strip()
        return math.nan if text in _MISSING else float(_truth(text))


def _check_present(wanted: Sequence[str], names: Sequence[str], signature: Signature) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise invalid(
            f"the table has no column {_listed(missing)}; it has {_listed(names)}, and the model "
            f"was made for {_listed(wanted)} ({describe_inputs(signature)})"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(repr(name[:80]) for name in names[:NAMED]) + more


def _width(table: Table, wanted: int, signature: Signature) -> MaasError:
    return invalid(
        f"the table has {len(table.columns)} columns and the model takes {wanted}; "
        f"{describe_inputs(signature)}"
    )
