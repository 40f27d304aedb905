"""Tensors as bytes: the protocol's binary form, shared by REST's extension and gRPC's raw contents.

Little-endian numbers, row-major; of BYTES each element is a u32 length and its bytes.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from maas.core.errors import MaasError, invalid
from maas.core.tensor import DType, TensorSpec

_U32 = struct.Struct("<I")
SMALL_BYTES = 4096
"""Below it a copy is cheaper than a view."""


def read_blob(blob: memoryview, spec: TensorSpec, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Bytes → an array; numbers are not copied.

    Args:
        blob: the whole tensor.
        spec: its element type.
        shape: sizes, each 0 or more.
        what: how the caller wrote it, for the error: `input 'x'`.

    Returns:
        An array of that shape, which shares memory with the blob (BYTES excepted).

    Raises:
        MaasError: INVALID_ARGUMENT where the bytes are not as many as the shape needs, or an
            element reaches past their end.
    """
    count = math.prod(shape)
    if spec.dtype is DType.BYTES:
        return _read_elements(blob, count, what).reshape(shape)
    dtype = spec.dtype.numpy
    if len(blob) != count * dtype.itemsize:
        raise invalid(
            f"{what} has {len(blob)} bytes where its shape {list(shape)} of {spec.dtype} needs "
            f"{count * dtype.itemsize}"
        )
    array = np.frombuffer(blob, dtype).reshape(shape)
    if spec.dtype is DType.BOOL and array.size and array.view(np.uint8).max() > 1:
        raise invalid(f"{what} is BOOL and holds bytes other than 0 and 1")
    return array


def _read_elements(blob: memoryview, count: int, what: str) -> np.ndarray:
    end = len(blob)
    # Each element takes four bytes at least: a shape cannot ask for more places than were sent.
    if count * _U32.size > end:
        raise _short(what, count)
    elements = np.empty(count, object)
    at = 0
    for index in range(count):
        if at + _U32.size > end:
            raise _short(what, count)
        (size,) = _U32.unpack_from(blob, at)
        at += _U32.size
        if size > end - at:
            raise invalid(
                f"element {index} of {what} is {size} bytes long and {end - at} are left; each is "
                "a u32 length, little-endian, and its bytes"
            )
        elements[index] = bytes(blob[at : at + size])
        at += size
    if at != end:
        raise invalid(f"{what} has {end - at} bytes left over after its {count} elements")
    return elements


def _short(what: str, count: int) -> MaasError:
    return invalid(
        f"{what} ends before its {count} elements; each is a u32 length, little-endian, and its "
        "bytes"
    )


def write_blob(array: np.ndarray) -> bytes | memoryview:
    """An array → bytes; a view of them where it is contiguous and native already.

    Args:
        array: of any element type; the elements of an object array are `bytes`.
    """
    if array.dtype.kind == "O":
        parts: list[bytes] = []
        for element in array.ravel().tolist():
            parts.append(_U32.pack(len(element)))
            parts.append(element)
        return b"".join(parts)
    if array.nbytes < SMALL_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
