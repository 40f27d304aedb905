"""One JSON value → one NumPy array of a spec's dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import simdjson

from maas.core.errors import MaasError, invalid
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tensorjson.document import Document
from maas.dialects.tensorjson.leaves import LARGEST, leaves_to_array, position
from maas.dialects.tensorjson.outline import fits

MAX_RANK = 32
"""Most axes of a tensor."""

_BUFFERS = {"d": np.dtype(np.float64), "i": np.dtype(np.int64), "u": np.dtype(np.uint64)}


def to_array(
    document: Document, value: Any, spec: TensorSpec, what: str, outline: bytes | None = None
) -> np.ndarray:
    """Reads a tensor, of whatever shape it is written in.

    Args:
        document: what the value is part of.
        value: nested lists, or a bare value, which gives rank 0.
        spec: whose dtype the values must fit; the shape is for the caller to check.
        what: how the caller wrote it, for the error: `input 'x'`.
        outline: of the value, from `Document.outlines`.

    Raises:
        MaasError: INVALID_ARGUMENT for lists of unequal lengths, more than `MAX_RANK` axes, or a
            value that does not fit the dtype; TOO_LARGE.
    """
    if type(value) is not list and isinstance(value, simdjson.Array):
        if outline is not None:
            array = _regular_numbers(value, spec.dtype, outline)
            if array is not None:
                return array
        value = document.python(value)
    elif isinstance(value, simdjson.Object):
        value = document.python(value)
    leaves, shape = flatten(value, what)
    return leaves_to_array(leaves, shape, spec, what)


def flatten(value: Any, what: str) -> tuple[list[Any], list[int]]:
    """Takes nested lists apart.

    Returns:
        The innermost values in row-major order, and the shape.

    Raises:
        MaasError: INVALID_ARGUMENT, naming two lists of one depth whose lengths differ.
    """
    shape: list[int] = []
    first = value
    while type(first) is list:
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if not shape:
        return [value], shape
    if len(shape) > MAX_RANK:
        raise invalid(f"{what} is nested {len(shape)} deep; expected at most {MAX_RANK} axes")
    leaves: list[Any] = value
    for axis in range(1, len(shape)):
        size = shape[axis]
        inner: list[Any] = []
        for index, row in enumerate(leaves):
            if type(row) is not list or len(row) != size:
                raise _ragged(row, size, index, shape[:axis], what)
            inner += row
        leaves = inner
    return leaves, shape


def _ragged(row: Any, size: int, index: int, shape: list[int], what: str) -> MaasError:
    here = f"a list of {len(row)}" if type(row) is list else "a single value"
    origin = position(0, shape).removeprefix(" at ")
    return invalid(
        f"{what} is ragged: it holds {here}{position(index, shape)} "
        f"and a list of {size} at {origin}; "
        "every list at one depth needs the same length"
    )


def _regular_numbers(value: Any, dtype: DType, outline: bytes) -> np.ndarray | None:
    """The array, or None where it is not one regular array of numbers that fit the dtype.

    The walk over Python objects then says what is wrong, or reads what a buffer cannot hold.
    """
    kind = dtype.numpy.kind
    if kind not in "fViu":
        return None
    shape: list[int] = []
    first = value
    while isinstance(first, simdjson.Array) and len(shape) <= MAX_RANK:
        shape.append(len(first))
        if not shape[-1]:
            break
        first = first[0]
    if len(shape) > MAX_RANK or not fits(outline, shape):
        return None
    wide = {"f": "d", "V": "d", "i": "i"}.get(kind, "u" if dtype is DType.UINT64 else "i")
    try:
        numbers = np.frombuffer(value.as_buffer(of_type=wide), _BUFFERS[wide])
    except (TypeError, ValueError):
        return None
    if len(numbers) != math.prod(shape):
        return None
    narrow = _narrow(numbers, dtype)
    return None if narrow is None else narrow.reshape(shape)


def _narrow(numbers: np.ndarray, dtype: DType) -> np.ndarray | None:
    """Converts 64-bit numbers to the dtype, or None where one does not fit."""
    if numbers.dtype == dtype.numpy or not len(numbers):
        return numbers.astype(dtype.numpy, copy=False)
    low, high = numbers.min(), numbers.max()
    if dtype.is_float:
        largest = LARGEST[dtype]
        fitting = -largest <= low and high <= largest
    else:
        bounds = np.iinfo(dtype.numpy)
        fitting = bounds.min <= low and high <= bounds.max
    return numbers.astype(dtype.numpy) if fitting else None
