"""A flat list of JSON values → a NumPy array of one dtype, refusing what the dtype cannot hold.

The rules are TensorFlow Serving's, the strictest of the dialects: integers take no `1.0`, floats
take integers, nothing takes `null`, and a string stays a string.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from maas.core.errors import MaasError, invalid
from maas.core.signature import describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tensorjson.document import is_base64

_REALS = frozenset({int, float})
_INTEGERS = frozenset({int})
_BOOLEANS = frozenset({bool})
_STRINGS = frozenset({str})

LARGEST = {
    DType.FP16: math.nextafter(65520.0, 0.0),
    DType.FP32: math.nextafter(float.fromhex("0x1.ffffffp127"), 0.0),
    DType.FP64: float.fromhex("0x1.fffffffffffffp1023"),
    # It is rounded to FP32 first, and half way goes up.
    DType.BF16: math.nextafter(float.fromhex("0x1.feffffp127"), 0.0),
}
"""The largest 64-bit float that each float type rounds to a finite number."""


def leaves_to_array(
    leaves: list[Any], shape: Sequence[int], spec: TensorSpec, what: str
) -> np.ndarray:
    """Converts values.

    Args:
        leaves: the values in row-major order, as a JSON parser gives them.
        shape: its product is their number.
        spec: whose dtype they must fit; its shape is not looked at.
        what: how the caller wrote it, for the error: `input 'x'`.

    Returns:
        An array of the spec's dtype and the given shape.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the first value that does not fit and its position.
    """
    dtype = spec.dtype.numpy
    kinds = set(map(type, leaves))
    kind = dtype.kind
    if spec.dtype.is_float:
        if not kinds <= _REALS:
            raise _misfit(_first_other(leaves, _REALS), leaves, shape, spec, what)
        largest = LARGEST[spec.dtype]
        if leaves and not (max(leaves) <= largest and min(leaves) >= -largest):
            _check_float_range(leaves, shape, spec, what)
        # ml_dtypes takes no integer beyond 64 bits; FP32 is what it goes through anyway.
        array = (
            np.array(leaves, np.float32).astype(dtype) if kind == "V" else np.array(leaves, dtype)
        )
    elif kind in "iu":
        if not kinds <= _INTEGERS:
            raise _misfit(_first_other(leaves, _INTEGERS), leaves, shape, spec, what)
        try:
            array = np.array(leaves, dtype)
        except OverflowError:
            raise _out_of_range(leaves, shape, spec, what) from None
    elif kind == "b":
        if not kinds <= _BOOLEANS:
            raise _misfit(_first_other(leaves, _BOOLEANS), leaves, shape, spec, what)
        array = np.array(leaves, dtype)
    else:
        if kinds <= _STRINGS:
            array = np.array([text.encode("utf-8") for text in leaves], dtype)
        else:
            array = np.array(_to_bytes(leaves, shape, spec, what), dtype)
    return array if len(shape) == 1 else array.reshape(shape)


def position(index: int, shape: Sequence[int]) -> str:
    """Where in nested lists a flat index lies: `[0, 2]`; empty for a bare value."""
    if not shape:
        return ""
    return " at [" + ", ".join(str(int(at)) for at in np.unravel_index(index, shape)) + "]"


def _expected(spec: TensorSpec) -> str:
    if spec.dtype is DType.BOOL:
        return "true or false"
    if spec.dtype is DType.BYTES:
        return 'strings or {"b64": …} objects'
    if spec.dtype.is_float:
        return "numbers"
    bounds = np.iinfo(spec.dtype.numpy)
    return f"whole numbers from {bounds.min} to {bounds.max}, written without a decimal point,"


def _first_other(leaves: list[Any], kinds: frozenset[type]) -> int:
    return next(index for index, value in enumerate(leaves) if type(value) not in kinds)


def _misfit(
    index: int, leaves: list[Any], shape: Sequence[int], spec: TensorSpec, what: str
) -> MaasError:
    value, where = leaves[index], position(index, shape)
    if isinstance(value, list):
        return invalid(
            f"{what} is ragged: it holds a list{where} among single values; "
            "every list at one depth needs the same length"
        )
    return invalid(
        f"{what} holds {_show(value)}{where}; expected {_expected(spec)} for {describe_spec(spec)}"
    )


def _check_float_range(
    leaves: list[Any], shape: Sequence[int], spec: TensorSpec, what: str
) -> None:
    largest = LARGEST[spec.dtype]
    for index, value in enumerate(leaves):
        if not -largest <= value <= largest and value not in (math.inf, -math.inf):
            if value != value:
                continue
            raise invalid(
                f"{what} holds {_show(value)}{position(index, shape)}, beyond what "
                f"{spec.dtype} can hold ({spec.dtype.largest:.8g})"
            )


def _out_of_range(
    leaves: list[Any], shape: Sequence[int], spec: TensorSpec, what: str
) -> MaasError:
    bounds = np.iinfo(spec.dtype.numpy)
    low, high = int(bounds.min), int(bounds.max)
    index = next(at for at, value in enumerate(leaves) if not low <= value <= high)
    return invalid(
        f"{what} holds {_show(leaves[index])}{position(index, shape)}, outside the range of "
        f"{spec.dtype}, {low} to {high}"
    )


def _to_bytes(leaves: list[Any], shape: Sequence[int], spec: TensorSpec, what: str) -> list[bytes]:
    blobs = []
    for index, value in enumerate(leaves):
        if isinstance(value, str):
            blobs.append(value.encode("utf-8"))
        elif is_base64(value) and isinstance(value["b64"], str):
            try:
                blobs.append(base64.b64decode(value["b64"], validate=True))
            except (binascii.Error, ValueError):
                raise invalid(
                    f'{what} holds a "b64" that is not base64{position(index, shape)}; '
                    "expected the standard alphabet with padding"
                ) from None
        else:
            raise _misfit(index, leaves, shape, spec, what)
    return blobs


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    text = json.dumps(value[:40] if isinstance(value, str) else value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:40] + "…"
