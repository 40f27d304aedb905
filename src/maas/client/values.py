"""What callers hold (lists, arrays, DataFrames) → arrays that fit a model's inputs.

DataFrames are recognised by their shape, never by their type: neither pandas nor polars is
imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maas.core.errors import MaasError, invalid
from maas.core.signature import describe_spec
from maas.core.tensor import DType, TensorSpec

LISTED = 20
"""Columns that an error names."""


def fit_inputs(specs: Sequence[TensorSpec], data: Any) -> tuple[dict[str, np.ndarray], bool]:
    """Turns what a caller gave into one array per input.

    Args:
        specs: the model's inputs, as its metadata names them.
        data: a mapping of input names to values; a DataFrame, or a mapping of column names to
            columns, whose columns are inputs or else the features of the only input, by their
            names where the model knows them; a pandas Series or a mapping of those names to
            scalars, which is one row, or a list of such mappings; or, for a model with one
            input, its values as they are (scalars, lists, arrays, Series, sparse matrices).

    Returns:
        Arrays under the inputs' names, and whether every one of them came one rank short and got
        a batch axis of size 1, which the caller will want taken off again.

    Raises:
        MaasError: INVALID_ARGUMENT for missing or unknown inputs, ragged rows, and values or
            shapes that the input cannot hold.
    """
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        columns = {str(name): _column(data[name]) for name in data.columns}
        return _from_columns(specs, columns), False
    if len(specs) > 1 and hasattr(data, "index") and hasattr(data, "to_dict"):
        data = data.to_dict()  # a row of a DataFrame: a pandas Series
    if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
        return _from_columns(specs, _columns_of(data)), False
    if isinstance(data, Mapping):
        named = {str(name): value for name, value in data.items()}
        if _are_features(specs, named):
            return _from_columns(specs, _columns_of([named])), True
        if _are_columns(specs, named):
            return _from_columns(specs, {k: _column(v) for k, v in named.items()}), False
        return _from_names(specs, named)
    if len(specs) != 1:
        raise invalid(f"the model has {len(specs)} inputs; send a dict with {_describe(specs)}")
    return _from_names(specs, {specs[0].name: data})


def _from_names(
    specs: Sequence[TensorSpec], named: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], bool]:
    _check_names(specs, named)
    arrays = {spec.name: to_array(spec, named[spec.name]) for spec in specs if spec.name in named}
    short = all(_one_rank_short(spec, arrays[spec.name]) for spec in specs if spec.name in arrays)
    if short:
        arrays = {name: array[np.newaxis] for name, array in arrays.items()}
    return {spec.name: _check_shape(spec, arrays[spec.name]) for spec in specs}, short


def _from_columns(specs: Sequence[TensorSpec], columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if _takes_columns(specs, columns):
        spec = specs[0]
        columns = _in_order(spec, columns)
        if not columns or (spec.shape[1] is not None and spec.shape[1] != len(columns)):
            raise invalid(f"the table has {len(columns)} columns; expected {describe_spec(spec)}")
        try:
            table = np.stack([to_array(spec, column) for column in columns.values()], axis=1)
        except ValueError:
            raise invalid("the columns have different lengths; expected a full table") from None
        return {spec.name: _check_shape(spec, table)}
    _check_names(specs, columns)
    return {spec.name: _check_shape(spec, to_array(spec, columns[spec.name])) for spec in specs}


def _in_order(spec: TensorSpec, columns: Mapping[str, Any]) -> Mapping[str, Any]:
    """Puts a table's columns in the model's order; those that are only numbered stay in theirs.

    Raises:
        MaasError: INVALID_ARGUMENT where they are not the model's.
    """
    if spec.labels is None or all(name.isdigit() for name in columns):
        return columns
    missing = [name for name in spec.labels if name not in columns]
    unknown = [name for name in columns if name not in spec.labels]
    if missing or unknown:
        raise invalid(
            (
                f"column {missing[0]!r} is missing"
                if missing
                else f"the model has no column {unknown[0]!r}"
            )
            + f"; expected {', '.join(spec.labels[:LISTED])}"
            + (" …" if len(spec.labels) > LISTED else "")
        )
    return {name: columns[name] for name in spec.labels}


def _takes_columns(specs: Sequence[TensorSpec], columns: Mapping[str, Any]) -> bool:
    """Whether columns are the features of the only input, rather than inputs themselves."""
    if len(specs) != 1 or len(specs[0].shape) != 2:
        return False
    return list(columns) != [specs[0].name]


def _are_columns(specs: Sequence[TensorSpec], named: Mapping[str, Any]) -> bool:
    """Whether a mapping holds the features of the only input, each a flat column."""
    if not _takes_columns(specs, named):
        return False
    try:
        return all(np.ndim(value) == 1 for value in named.values())
    except ValueError:
        return False


def _are_features(specs: Sequence[TensorSpec], named: Mapping[str, Any]) -> bool:
    """Whether a mapping is one row of the only input, whose features have names."""
    return (
        _takes_columns(specs, named)
        and specs[0].labels is not None
        and all(np.isscalar(value) or value is None for value in named.values())
    )


def _columns_of(rows: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """Takes rows that name their values to columns.

    Raises:
        MaasError: INVALID_ARGUMENT where rows have other names than the first.
    """
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            odd = sorted(map(str, row.keys() ^ rows[0].keys()))[0]
            raise invalid(
                f"row {number} and row 0 do not have the same columns: {odd!r} is in one of them "
                "only; expected the same in every row"
            )
    return {str(name): [row[name] for row in rows] for name in rows[0]}


def _check_names(specs: Sequence[TensorSpec], named: Mapping[str, Any]) -> None:
    names = [spec.name for spec in specs]
    for name in named:
        if name not in names:
            raise invalid(f"the model has no input {name!r}; expected {_describe(specs)}")
    for name in names:
        if name not in named:
            raise invalid(f"input {name!r} is missing; expected {_describe(specs)}")


def to_array(spec: TensorSpec, values: Any) -> np.ndarray:
    """Makes an array whose values the input can hold exactly as they stand.

    Floats may stay float64 for an FP32 input: the server rounds them, and JSON is shorter so.

    Raises:
        MaasError: INVALID_ARGUMENT for ragged rows, or a kind or range the dtype does not hold.
    """
    try:
        values = _column(values)
        # Left to itself NumPy would make texts of the numbers among texts.
        mixed = spec.dtype is DType.BYTES and not isinstance(values, np.ndarray)
        array = np.asarray(values, dtype=object if mixed else None)
    except ValueError:
        raise invalid(
            f"input {spec.name!r} is ragged: its rows have different lengths; "
            f"expected {describe_spec(spec)}"
        ) from None
    if spec.dtype is DType.BYTES:
        return _texts(spec, array)
    if array.dtype == object:
        array = _numbers(spec, array)
    if array.size == 0:
        return array.astype(spec.dtype.numpy)
    if array.dtype == DType.BF16.numpy:
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise _wrong(spec, "text" if array.dtype.kind in "USOT" else str(array.dtype))
    if spec.dtype is DType.BOOL:
        if array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
            raise _wrong(spec, "numbers other than 0 and 1")
        return array.astype(bool)
    if spec.dtype.is_integer:
        return _integers(spec, array)
    if array.dtype.kind != "f":
        return array.astype(np.float64)
    _check_range(spec, array)
    return array


def _column(values: Any) -> Any:
    """Takes a DataFrame's column, a sparse matrix or an array-like to NumPy; leaves the rest."""
    if hasattr(values, "toarray"):
        return values.toarray()
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def _texts(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    flat: list[str] = []
    for element in array.ravel().tolist():
        if isinstance(element, bytes):
            try:
                element = element.decode()
            except UnicodeDecodeError:
                raise _wrong(spec, "bytes that are not UTF-8, which JSON cannot carry") from None
        if _is_missing(element) or element != element:
            raise _wrong(spec, "a missing value, and no text can be missing: fill or drop it")
        if not isinstance(element, str):
            raise _wrong(spec, f"a {type(element).__name__}")
        flat.append(element)
    texts = np.empty(len(flat), dtype=object)
    texts[:] = flat
    return texts.reshape(array.shape)


def _numbers(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """Reads an object array of numbers, where None and pandas' NA are NaN."""
    flat = array.ravel().tolist()
    if any(isinstance(each, (str, bytes)) for each in flat):
        raise _wrong(spec, "text")
    if spec.dtype.is_integer and all(isinstance(each, (int, np.integer)) for each in flat):
        whole = np.array(flat).reshape(array.shape)
        if whole.dtype == object:
            raise _wrong(spec, "numbers that need more than 64 bits")
        return whole
    try:
        floats = [np.nan if _is_missing(each) else float(each) for each in flat]
    except (TypeError, ValueError):
        kinds = sorted({type(each).__name__ for each in flat})
        raise _wrong(spec, f"values of type {', '.join(kinds)}") from None
    return np.array(floats).reshape(array.shape)


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType"


def _integers(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise _wrong(spec, "NaN or infinity")
        if not (array == np.trunc(array)).all():
            raise _wrong(spec, "fractions")
    limits = np.iinfo(spec.dtype.numpy)
    # Python's integers compare exactly where int64, uint64 and float64 would not.
    if int(array.min()) < limits.min or int(array.max()) > limits.max:
        raise _wrong(spec, f"numbers outside {limits.min} to {limits.max}")
    return array.astype(spec.dtype.numpy)


def _check_range(spec: TensorSpec, array: np.ndarray) -> None:
    if array.dtype.itemsize <= spec.dtype.numpy.itemsize:
        return
    largest = spec.dtype.largest
    if np.abs(array[np.isfinite(array)]).max(initial=0) > largest:
        raise _wrong(spec, f"numbers beyond {largest:.8g}")


def _one_rank_short(spec: TensorSpec, array: np.ndarray) -> bool:
    if not spec.shape or spec.shape[0] is not None or array.ndim != len(spec.shape) - 1:
        return False
    # A list of texts or numbers for an input [n, 1] is n rows, not one.
    return spec.shape[1:] != (1,)


def _check_shape(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    if array.ndim == 1 and len(spec.shape) == 2 and spec.shape[1] == 1:
        array = array[:, np.newaxis]
    fits = array.ndim == len(spec.shape) and all(
        want is None or want == got for want, got in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise invalid(
            f"input {spec.name!r} has shape {list(array.shape)}; expected {describe_spec(spec)}"
        )
    return array


def _describe(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(describe_spec(spec) for spec in specs)


def _wrong(spec: TensorSpec, what: str) -> MaasError:
    return invalid(f"input {spec.name!r} holds {what}; expected {describe_spec(spec)}")
