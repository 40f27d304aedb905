"""One array in NumPy's `.npy` format, read without ever running or allocating what it claims."""

from __future__ import annotations

import ast
import io
import math
import re
import sys
from typing import Any

import numpy as np

from maas.core.errors import MaasError, invalid
from maas.core.signature import describe_spec
from maas.core.tensor import DType, TensorSpec

MAX_HEADER = 4096
MAX_RANK = 32
_MAGIC = b"\x93NUMPY"
_DTYPE = re.compile(r"[<>|=][biufSU][0-9]{1,9}")


def read_npy(body: bytes) -> np.ndarray:
    """Reads an array of numbers, truth values or texts.

    Returns:
        A view of the body where it can be one; texts stay `S` or `U`.

    Raises:
        MaasError: INVALID_ARGUMENT for what is no such file, holds Python objects, or is not as
            long as its header says.
    """
    header, at = _header(body)
    dtype, shape = header["descr"], header["shape"]
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise invalid(
            f"the .npy body holds {str(dtype)[:40]!r}; expected numbers, truth values or texts"
        )
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_RANK
        or any(type(size) is not int or size < 0 for size in shape)
    ):
        raise _refused()
    width = int(dtype[2:]) * (4 if dtype[1] == "U" else 1)
    if not width or math.prod(shape) * width != len(body) - at:
        raise invalid(
            f"the .npy body holds {len(body) - at} bytes after its header, which says "
            f"{str(list(shape))[:80]} of {dtype}"
        )
    try:
        flat = np.frombuffer(body, np.dtype(dtype), offset=at)
    except TypeError:  # such as f3
        raise _refused() from None
    if dtype[1] == "b" and flat.size and flat.view(np.uint8).max() > 1:
        raise invalid("the .npy body holds a truth value that is neither 0 nor 1")
    if dtype[1] == "U" and flat.size:
        points = np.frombuffer(body, np.dtype("u4").newbyteorder(flat.dtype.byteorder), offset=at)
        if points.max() > sys.maxunicode:
            raise invalid("the .npy body holds a text that is not Unicode")
    try:
        return flat.reshape(shape, order="F" if header["fortran_order"] else "C")
    except (ValueError, OverflowError):  # (0, 2 ** 62, 2 ** 62), whose product is 0
        raise invalid(
            f"the shape {str(list(shape))[:80]} is beyond what an array can have"
        ) from None


def _header(body: bytes) -> tuple[dict[str, Any], int]:
    """The header's dictionary, and where the elements begin (numpy/lib/_format_impl.py).

    NumPy's own reader is not used: it mends headers of Python 2 and fails on broken ones with
    errors of the tokenizer.
    """
    width = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(body[6:8])
    if width is None or not body.startswith(_MAGIC):
        raise _refused()
    start = 8 + width
    length = int.from_bytes(body[8:start], "little")
    if length > MAX_HEADER or start + length > len(body):
        raise _refused()
    try:
        header = ast.literal_eval(body[start : start + length].decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise _refused() from None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise _refused()
    return header, start + length


def write_npy(array: np.ndarray) -> bytes:
    """Writes an array; BYTES as fixed-width texts, UTF-8 where they are."""
    if array.dtype.kind == "O":
        try:
            array = np.array([blob.decode("utf-8") for blob in array.ravel()]).reshape(array.shape)
        except UnicodeDecodeError:
            array = array.astype("S")
    elif array.dtype.kind == "V":  # bfloat16, which NumPy's format has no name for
        array = array.astype(np.float32)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def cast(array: np.ndarray, spec: TensorSpec, what: str) -> np.ndarray:
    """Converts to an input's dtype where every value stays what it is, floats being rounded.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    kind, want = array.dtype.kind, spec.dtype
    if want is DType.BYTES and kind in "SU":
        try:
            texts = array.ravel().tolist()
            blobs = [text.encode("utf-8") if kind == "U" else text for text in texts]
        except ValueError:  # half of a pair
            raise invalid(f"{what} holds a text that is not Unicode") from None
        return np.array(blobs, object).reshape(array.shape)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if want.is_float and kind in "biuf":
        with np.errstate(over="ignore", invalid="ignore"):
            cast = native.astype(want.numpy)
        if bool(np.any(np.isinf(cast.astype(np.float64)) & np.isfinite(native))):
            raise _misfit(array, spec, what)
        return cast
    if want.is_integer and kind in "biu":
        bounds = np.iinfo(want.numpy)
        if native.size and not (
            bounds.min <= int(native.min()) and int(native.max()) <= bounds.max
        ):
            raise _misfit(array, spec, what)
        return native.astype(want.numpy)
    if want is DType.BOOL and kind == "b":
        return native
    raise _misfit(array, spec, what)


def _misfit(array: np.ndarray, spec: TensorSpec, what: str) -> MaasError:
    return invalid(f"{what} is {array.dtype} and does not fit; expected {describe_spec(spec)}")


def _refused() -> MaasError:
    return invalid("the body is not a .npy array without Python objects")
