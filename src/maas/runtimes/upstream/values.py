"""Tensors to and from another server's bytes. What comes from there is checked as a stranger's."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from maas.core.errors import MaasError
from maas.core.signature import Signature, describe_shape, describe_spec
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.runtimes.upstream.errors import nonsense

_LENGTH = struct.Struct("<I")
_KINDS = MappingProxyType({"b": "b", "i": "iu", "u": "iu", "f": "iuf", "V": "iuf"})
"""What lists may hold for each kind of NumPy's types (V is bfloat16's)."""


def to_bytes(array: np.ndarray, dtype: DType) -> bytes:
    """A tensor as OIP's binary extension has it: little-endian; texts with their lengths."""
    if dtype is not DType.BYTES:
        return np.ascontiguousarray(array).tobytes()
    parts: list[bytes] = []
    for text in array.ravel():
        parts += (_LENGTH.pack(len(text)), text)
    return b"".join(parts)


def from_bytes(name: str, dtype: DType, shape: Sequence[int], data: bytes) -> np.ndarray:
    """The way back.

    Args:
        name: the tensor's, for errors.
        dtype: its type.
        shape: as the server says.
        data: all of the tensor's bytes.

    Raises:
        MaasError: INTERNAL where the bytes do not fill the shape exactly.
    """
    count = count_of(name, shape)
    if dtype is DType.BYTES:
        return _texts(name, count, data).reshape(shape)
    if len(data) != count * dtype.numpy.itemsize:
        raise nonsense(
            f"{name!r} has {len(data)} bytes where {dtype} {describe_shape(tuple(shape))} has "
            f"{count * dtype.numpy.itemsize}"
        )
    return np.frombuffer(data, dtype.numpy).reshape(shape)


def from_lists(name: str, dtype: DType, shape: Sequence[int] | None, values: Any) -> np.ndarray:
    """A tensor of JSON's values.

    Args:
        name: the tensor's, for errors.
        dtype: its type.
        shape: what it is to have; None for that of the lists.
        values: nested or flat; texts as `bytes` or `str`.

    Raises:
        MaasError: INTERNAL for values of another type, ragged lists, and another number of them.
    """
    if shape is not None:
        count_of(name, shape)
    try:
        if dtype is DType.BYTES:
            array = _text_array(values)
        else:
            kind = np.asarray(values).dtype.kind
            # A list of small and of very large whole numbers is neither to NumPy.
            if kind not in _KINDS[dtype.numpy.kind] and dtype is not DType.UINT64:
                raise ValueError("another type")
            array = np.asarray(values, dtype.numpy)
        return array if shape is None else array.reshape(shape)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        wanted = "" if shape is None else f" {describe_shape(tuple(shape))}"
        raise nonsense(f"{name!r} does not hold {dtype}{wanted}") from error


def count_of(name: str, shape: Sequence[int]) -> int:
    """How many values a shape has.

    Raises:
        MaasError: INTERNAL for sizes below 0 and shapes that no array has.
    """
    if len(shape) > 32 or any(size < 0 for size in shape):
        raise nonsense(f"{name!r} has the shape {describe_shape(tuple(shape[:33]))}")
    return prod(shape)


def checked(signature: Signature, answers: Mapping[str, np.ndarray]) -> Tensors:
    """The signature's outputs, in its order.

    Raises:
        MaasError: INTERNAL where one is missing, or is not what the signature says.
    """
    outputs = {}
    for spec in signature.outputs:
        array = answers.get(spec.name)
        if array is None:
            raise nonsense(f"there is no output {spec.name!r}")
        _check(spec, array)
        outputs[spec.name] = array
    return outputs


def _check(spec: TensorSpec, array: np.ndarray) -> None:
    fits = len(spec.shape) == array.ndim and all(
        want in (None, got) for want, got in zip(spec.shape, array.shape, strict=True)
    )
    if array.dtype != spec.dtype.numpy or not fits:
        raise nonsense(
            f"{spec.name!r} comes as {array.dtype} {describe_shape(array.shape)} where its "
            f"signature has {describe_spec(spec)}; publish it again if the upstream has changed"
        )


def _texts(name: str, count: int, data: bytes) -> np.ndarray:
    found: list[bytes] = []
    at = 0
    while at + _LENGTH.size <= len(data) and len(found) < count:
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        found.append(data[at : at + length])
        at += length
    if at != len(data) or len(found) != count:
        raise nonsense(f"{name!r} does not hold {count} texts")
    array = np.empty(count, object)
    array[:] = found
    return array


def _text_array(values: Any) -> np.ndarray:
    """Texts of nested lists, as an object array of `bytes`."""
    array = np.asarray(values, dtype=object)
    flat = np.empty(array.size, object)
    for index, value in enumerate(array.ravel()):
        if isinstance(value, str):
            flat[index] = value.encode()
        elif isinstance(value, bytes):
            flat[index] = value
        else:
            raise ValueError("not a text")
    return flat.reshape(array.shape)


def refuse(error: Exception) -> MaasError:
    """The error for bytes that are not what the protocol has."""
    return nonsense(f"it is not what its protocol has ({type(error).__name__})")
