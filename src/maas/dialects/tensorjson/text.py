"""NumPy arrays → JSON text.

Floats print as the shortest text that reads back to the same number of their own width, with a
trailing `.0` where whole (BF16 as the FP32 of the same value); `NaN`, `Infinity` and `-Infinity`
are written as these tokens, as TensorFlow Serving and Python's json do. Strings are raw UTF-8.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def array_text(array: np.ndarray, *, as_base64: bool = False) -> bytes:
    """Writes an array as nested lists (a bare value where its rank is 0).

    Args:
        array: of any dtype a tensor may have.
        as_base64: write each element of a BYTES array as `{"b64": …}`; otherwise only those that
            are not UTF-8 are written so.
    """
    if array.dtype.kind == "O":
        return orjson.dumps(bytes_values(array, as_base64=as_base64))
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    try:
        text = orjson.dumps(array if array.ndim else array[()], option=_NUMPY)
    except orjson.JSONEncodeError:  # it takes C order and the machine's byte order alone
        text = orjson.dumps(
            np.ascontiguousarray(array, array.dtype.newbyteorder("=")), option=_NUMPY
        )
    return _with_tokens(text, array) if b"null" in text else text


def bytes_values(array: np.ndarray, *, as_base64: bool = False) -> Any:
    """The elements of a BYTES array as nested lists of strings and `{"b64": …}` objects."""
    write = _base64_value if as_base64 else _text_value
    if array.ndim == 1:
        return [write(blob) for blob in array.tolist()]
    if array.ndim == 0:
        return write(array.item())
    return [bytes_values(row, as_base64=as_base64) for row in array]


def object_text(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Writes a JSON object from names and values that are JSON text already."""
    return b"{" + b",".join([orjson.dumps(name) + b":" + text for name, text in members]) + b"}"


def _text_value(blob: bytes) -> Any:
    try:
        return blob.decode("utf-8")
    except UnicodeDecodeError:
        return _base64_value(blob)


def _base64_value(blob: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(blob).decode("ascii")}


def _with_tokens(text: bytes, array: np.ndarray) -> bytes:
    """Replaces each `null`, orjson's text for what is not finite, by the token it stands for."""
    parts = text.split(b"null")
    odd = array[~np.isfinite(array)]  # in row-major order, as the nulls are
    pieces = [parts[0]]
    for value, part in zip(odd.tolist(), parts[1:], strict=True):
        token = b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity"
        pieces += [token, part]
    return b"".join(pieces)
