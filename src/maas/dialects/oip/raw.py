"""A body without JSON: the only input's tensor as it is, whose shape follows from its size."""

from __future__ import annotations

import math

import numpy as np

from maas.core.errors import invalid
from maas.core.signature import Signature, check_inputs, describe_inputs, describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.binary import read_blob
from maas.dialects.oip.body import HEADER
from maas.dialects.oip.request import InferRequest


def decode_raw(body: bytes, signature: Signature) -> InferRequest:
    """Reads it; the answer is to be in binary, as Triton's.

    One axis of any size is counted from the body's size. Where there are two and the first is the
    batch axis, the body is one row. Of BYTES, the body is one element, without its length.

    Raises:
        MaasError: INVALID_ARGUMENT where the model takes several inputs or the shape cannot be
            told, or the size fits none.
    """
    if len(signature.inputs) != 1:
        raise invalid(
            f"{HEADER} is 0, which sends the only input's bytes, and the model takes "
            f"{len(signature.inputs)} inputs; {describe_inputs(signature)}"
        )
    spec = signature.inputs[0]
    shape = _shape_of(spec, len(body), batched=signature.batched)
    if spec.dtype is DType.BYTES:
        array = np.empty(1, object)
        array[0] = body
        array = array.reshape(shape)
    else:
        array = read_blob(memoryview(body), spec, shape, f"input {spec.name!r}")
    inputs = {spec.name: array}
    return InferRequest(signature, inputs, check_inputs(signature, inputs), all_binary=True)


def _shape_of(spec: TensorSpec, size: int, *, batched: bool) -> tuple[int, ...]:
    shape = list(spec.shape)
    if spec.dtype is DType.BYTES:
        ones = [1 if axis is None else axis for axis in shape]
        if math.prod(ones) != 1:
            raise invalid(
                f"{HEADER} is 0, which sends one element, and the model takes more; expected "
                f"{describe_spec(spec)}"
            )
        return tuple(ones)
    if batched and shape.count(None) > 1:
        shape[0] = 1
    known = math.prod(axis for axis in shape if axis is not None) * spec.dtype.numpy.itemsize
    if shape.count(None) > 1:
        raise invalid(
            f"{HEADER} is 0, and the shape of {spec.name!r} cannot be told from the size of the "
            f"body; send it in JSON before the tensor, which is {describe_spec(spec)}"
        )
    if None in shape:
        if not known or size % known:
            raise invalid(
                f"the body has {size} bytes, which is no whole number of {known} bytes; expected "
                f"{describe_spec(spec)}"
            )
        shape[shape.index(None)] = size // known
    return tuple(axis for axis in shape if axis is not None)
