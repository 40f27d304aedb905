"""BYTES tensors (object arrays of UTF-8 `bytes`) against the `str` that frameworks want."""

from __future__ import annotations

from typing import Any

import numpy as np

from maas.core.errors import invalid


def to_str(name: str, array: np.ndarray) -> np.ndarray:
    """Decodes a BYTES tensor into an object array of `str` of the same shape.

    Raises:
        MaasError: INVALID_ARGUMENT for an element that is not UTF-8 (or not bytes).
    """
    try:
        items = [item if type(item) is str else item.decode() for item in array.ravel().tolist()]
    except (UnicodeDecodeError, AttributeError):
        raise invalid(
            f"input {name!r} holds an element that is not UTF-8 text; expected UTF-8 text"
        ) from None
    return _object_array(items, array.shape)


def to_bytes(array: np.ndarray) -> np.ndarray:
    """Encodes an array of strings (any string or object dtype) into a BYTES tensor."""
    items = [item if type(item) is bytes else str(item).encode() for item in array.ravel().tolist()]
    return _object_array(items, array.shape)


def _object_array(items: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    flat = np.empty(len(items), dtype=object)
    flat[:] = items
    return flat.reshape(shape)
