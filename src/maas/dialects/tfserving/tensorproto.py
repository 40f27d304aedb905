"""`tensorflow.TensorProto` ↔ NumPy arrays.

A tensor arrives as bytes in `tensor_content` or as elements in the typed field of its type; the
last element stands for those that are left out, and none at all for zeros, as TensorFlow's
`Tensor::FromProto` has it. It leaves in typed fields, as TensorFlow Serving writes them: there is
much code that reads `outputs["y"].float_val`.

Where a message contradicts itself (both forms, more values than the shape holds, a number beyond
its type) TensorFlow takes one half of it in silence; here it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.binary import check_objects
from maas.dialects.tensorjson.arrays import MAX_RANK

MOST_FILLED = 64 << 20
"""Bytes that a tensor may grow to by repeating its last value."""
STRING_BYTES = 256
"""What a repeated string counts beside its characters: each is an object on its way."""


class Form(Struct, frozen=True):
    """How TensorFlow writes one element type.

    Args:
        number: in its enumeration `DataType`.
        name: there.
        field: the typed field that holds the elements.
    """

    number: int
    name: str
    field: str


FORMS: Mapping[DType, Form] = MappingProxyType(
    {
        DType.FP32: Form(1, "DT_FLOAT", "float_val"),
        DType.FP64: Form(2, "DT_DOUBLE", "double_val"),
        DType.INT32: Form(3, "DT_INT32", "int_val"),
        DType.UINT8: Form(4, "DT_UINT8", "int_val"),
        DType.INT16: Form(5, "DT_INT16", "int_val"),
        DType.INT8: Form(6, "DT_INT8", "int_val"),
        DType.BYTES: Form(7, "DT_STRING", "string_val"),
        DType.INT64: Form(9, "DT_INT64", "int64_val"),
        DType.BOOL: Form(10, "DT_BOOL", "bool_val"),
        DType.BF16: Form(14, "DT_BFLOAT16", "half_val"),
        DType.UINT16: Form(17, "DT_UINT16", "int_val"),
        DType.FP16: Form(19, "DT_HALF", "half_val"),
        DType.UINT32: Form(22, "DT_UINT32", "uint32_val"),
        DType.UINT64: Form(23, "DT_UINT64", "uint64_val"),
    }
)
"""Source: tensorflow/core/framework/types.proto and tensor.proto."""
_BY_NUMBER = {form.number: dtype for dtype, form in FORMS.items()}
_FIELDS = tuple(sorted({form.field for form in FORMS.values()}))
_WIRE = {
    DType.INT32: np.int32,
    DType.UINT8: np.int32,
    DType.INT16: np.int32,
    DType.INT8: np.int32,
    DType.UINT16: np.int32,
    DType.FP16: np.int32,
    DType.BF16: np.int32,
}
"""What a typed field holds, where it is not the type itself."""
_FLOAT_VAL = b"\x2a"
_DOUBLE_VAL = b"\x32"
_BOOL_VAL = b"\x5a"
"""Fields 5, 6 and 11, packed: their wire form is the array's own bytes."""


def read_tensor(proto: Any, spec: TensorSpec, what: str) -> np.ndarray:
    """Reads a tensor, of whatever shape it says; the shape is for the caller to check.

    Args:
        proto: a `tensorflow.TensorProto`.
        spec: whose dtype it must have.
        what: for the errors: `input 'x'`.

    Raises:
        MaasError: INVALID_ARGUMENT for another dtype, an unknown or negative shape, a content of
            another length, or values that do not fit; TOO_LARGE beyond `MOST_FILLED`.
    """
    _check_dtype(proto, spec, what)
    shape = _shape(proto, what)
    count = math.prod(shape)
    content = proto.tensor_content
    form = FORMS[spec.dtype]
    present = [name for name in _FIELDS if len(getattr(proto, name))]
    if content and present:
        raise invalid(f"{what} has both tensor_content and {present[0]}; send one of them")
    if present and present != [form.field]:
        other = next(name for name in present if name != form.field)
        raise invalid(f"{what} has values in {other}; those of {form.name} belong in {form.field}")
    if content:
        return _from_content(content, spec, count, what).reshape(shape)
    return _from_values(getattr(proto, form.field), spec, count, what).reshape(shape)


def _check_dtype(proto: Any, spec: TensorSpec, what: str) -> None:
    dtype = _BY_NUMBER.get(proto.dtype)
    if dtype is spec.dtype:
        return
    name = FORMS[dtype].name if dtype is not None else f"of the type number {proto.dtype}"
    raise invalid(f"{what} is {name}; expected {FORMS[spec.dtype].name} for {describe_spec(spec)}")


def _shape(proto: Any, what: str) -> list[int]:
    if proto.tensor_shape.unknown_rank:
        raise invalid(f"{what} has a shape of unknown rank; write its dimensions")
    dims = proto.tensor_shape.dim
    if len(dims) > MAX_RANK:
        raise invalid(f"{what} has {len(dims)} dimensions; expected at most {MAX_RANK}")
    shape = [dim.size for dim in dims]
    if any(size < 0 for size in shape):
        raise invalid(f"{what} has the shape {shape}; no dimension of a tensor may be negative")
    if 0 in shape and math.prod(max(size, 1) for size in shape) > MOST_FILLED:
        raise invalid(f"{what} has the shape {shape}; an empty tensor may not be that large")
    return shape


def _from_content(content: bytes, spec: TensorSpec, count: int, what: str) -> np.ndarray:
    if spec.dtype is DType.BYTES:
        return _strings(content, count, what)
    dtype = spec.dtype.numpy
    if len(content) != count * dtype.itemsize:
        raise invalid(
            f"{what} has {len(content)} bytes of tensor_content; its shape and type need "
            f"{count * dtype.itemsize}"
        )
    array = np.frombuffer(content, dtype)
    if spec.dtype is DType.BOOL and array.view(np.uint8).max() > 1:
        raise invalid(f"{what} holds a byte other than 0 and 1 in its tensor_content")
    return array


def _strings(content: bytes, count: int, what: str) -> np.ndarray:
    """Strings in `tensor_content`: their lengths as varints, then their bytes.

    Source: `EncodeStringList` in tensorflow/core/platform/coding and tensor_coding.cc.
    """
    torn = invalid(
        f"{what} has strings in tensor_content that do not fill it; expected {count} lengths and "
        "then as many bytes as they say"
    )
    if count > len(content):
        raise torn
    check_objects(count, what)
    lengths, at = [], 0
    for _ in range(count):
        value = shift = 0
        while True:
            if at >= len(content) or shift > 35:
                raise torn
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(value)
    if at + sum(lengths) != len(content):
        raise torn
    array = np.empty(count, np.object_)
    for index, length in enumerate(lengths):
        array[index] = content[at : at + length]
        at += length
    return array


def _from_values(values: Any, spec: TensorSpec, count: int, what: str) -> np.ndarray:
    given = len(values)
    if given > count:
        raise invalid(f"{what} has {given} values and a shape that holds {count}")
    if given < count:
        size = count * spec.dtype.numpy.itemsize
        if spec.dtype is DType.BYTES:
            size = (count - given) * (STRING_BYTES + (len(values[-1]) if given else 0))
        if size > MOST_FILLED:
            raise MaasError(
                ErrorKind.TOO_LARGE,
                f"{what} has {given} values and a shape of {count}; filled up it would be larger "
                f"than {MOST_FILLED >> 20} MiB",
            )
    if spec.dtype is DType.BYTES:
        check_objects(count, what)
    array = _typed(values, spec, what)
    if given == count:
        return array
    filled = np.empty(count, array.dtype)
    filled[:given] = array
    zero = b"" if spec.dtype is DType.BYTES else 0
    filled[given:] = array[-1] if given else zero
    return filled


def _typed(values: Any, spec: TensorSpec, what: str) -> np.ndarray:
    dtype = spec.dtype.numpy
    if spec.dtype is DType.BYTES:
        array = np.empty(len(values), np.object_)
        array[:] = list(values)
        return array
    # The fields of upb's messages give NumPy their memory, so that no element becomes an object.
    wire = np.array(values, _WIRE.get(spec.dtype, dtype))
    if wire.dtype == dtype:
        return wire
    held = dtype if spec.dtype.is_integer else np.dtype(np.uint16)
    bounds = np.iinfo(held)
    if len(wire) and (wire.min() < bounds.min or wire.max() > bounds.max):
        raise invalid(
            f"{what} holds a number outside of {bounds.min} to {bounds.max}, the range of "
            + (f"{FORMS[spec.dtype].name}" if spec.dtype.is_integer else "16 bits")
        )
    return wire.astype(held).view(dtype)


def write_tensor(proto: Any, array: np.ndarray) -> None:
    """Writes an array into an empty `tensorflow.TensorProto`.

    Args:
        proto: to be filled.
        array: of a dtype that the protocols carry.
    """
    dtype = DType.of(array.dtype)
    form = FORMS[dtype]
    proto.dtype = form.number
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if not array.size:
        return
    if dtype is DType.FP32:
        _merge_packed(proto, _FLOAT_VAL, array)
    elif dtype is DType.FP64:
        _merge_packed(proto, _DOUBLE_VAL, array)
    elif dtype is DType.BOOL:
        _merge_packed(proto, _BOOL_VAL, array)
    elif dtype in (DType.FP16, DType.BF16):
        bits = np.ascontiguousarray(array).reshape(-1).view(np.uint16)
        proto.half_val.extend(bits.tolist())
    else:
        getattr(proto, form.field).extend(array.reshape(-1).tolist())


def _merge_packed(proto: Any, tag: bytes, array: np.ndarray) -> None:
    """Adds elements whose packed wire form is the array's bytes, without a Python object each."""
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    length, size = bytearray(), len(data)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    proto.MergeFromString(b"".join((tag, length, data)))
