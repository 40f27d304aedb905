"""Tensors as bytes: the protocol's binary form, shared by REST's extension and gRPC's raw contents.

Little-endian numbers, row-major; of BYTES each element is a u32 length and its bytes.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tensorjson.document import MAX_OBJECTS

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
            element reaches past their end; TOO_LARGE for more than `MAX_OBJECTS` of BYTES.
    """
    count = math.prod(shape)
    if spec.dtype is DType.BYTES:
        return _reshaped(_read_elements(blob, count, what), shape, what)
    dtype = spec.dtype.numpy
    if len(blob) != count * dtype.itemsize:
        raise invalid(
            f"{what} has {len(blob)} bytes where its shape {list(shape)} of {spec.dtype} needs "
            f"{count * dtype.itemsize}"
        )
    array = _reshaped(np.frombuffer(blob, dtype), shape, what)
    if spec.dtype is DType.BOOL and array.size and array.view(np.uint8).max() > 1:
        raise invalid(f"{what} is BOOL and holds bytes other than 0 and 1")
    return array


def _reshaped(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):  # [0, 2 ** 62, 2 ** 62], whose product is 0
        raise invalid(f"shape {list(shape)} of {what} is beyond what an array can have") from None


def _read_elements(blob: memoryview, count: int, what: str) -> np.ndarray:
    # Each element takes four bytes at least: a shape cannot ask for more places than were sent.
    if count * _U32.size > len(blob):
        raise _short(what, count)
    check_objects(count, what)
    data = bytes(blob)
    end = len(data)
    found: list[bytes] = []
    at = 0
    for index in range(count):
        start = at + _U32.size
        if start > end:
            raise _short(what, count)
        (size,) = _U32.unpack_from(data, at)
        at = start + size
        if at > end:
            raise invalid(
                f"element {index} of {what} is {size} bytes long and {end - start} are left; each "
                "is a u32 length, little-endian, and its bytes"
            )
        found.append(data[start:at])
    if at != end:
        raise invalid(f"{what} has {end - at} bytes left over after its {count} elements")
    elements = np.empty(count, object)
    elements[:] = found
    return elements


def check_objects(count: int, what: str) -> None:
    """Checks that a BYTES tensor has few enough elements: each becomes an object.

    Raises:
        MaasError: TOO_LARGE.
    """
    if count > MAX_OBJECTS:
        raise MaasError(
            ErrorKind.TOO_LARGE,
            f"{what} has {count} elements; of BYTES at most {MAX_OBJECTS} are read at once: send "
            "fewer rows in one call",
        )


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
