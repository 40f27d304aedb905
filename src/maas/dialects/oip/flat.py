"""The commonest inference request, read in one pass: flat numbers for inputs that are all floats.

msgspec checks the types while it parses, which takes a third of the time of walking the document.
Whatever does not fit, errors included, is left to `decode`, so that there is one place that
knows the protocol and says what is wrong.
"""

from __future__ import annotations

from math import hypot
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from maas.core.signature import Signature
from maas.dialects.oip.request import InferRequest
from maas.dialects.tensorjson.leaves import LARGEST

MOST_BYTES = 4096
"""Longer bodies have long data, which the general way reads as fast."""


class _Tensor(Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]
    parameters: Any = UNSET


class _Request(Struct, gc=False):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: Any = UNSET
    outputs: Any = UNSET


_decoder = msgspec.json.Decoder(_Request)


def decode_flat(body: bytes, signature: Signature) -> InferRequest | None:
    """Reads a request, or gives None where it is not of the common form.

    Args:
        body: at most `MOST_BYTES`; a longer one is of no use here.
        signature: whose inputs are FP32 or FP64 with a shape fixed but for the batch axis.
    """
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    sent = request.inputs
    checks = signature.checks
    if (
        len(sent) != len(checks)
        or not signature.all_fixed
        or type(request.parameters) is not UnsetType
        or type(request.outputs) is not UnsetType
    ):
        return None
    batched = signature.batched
    rows = 0
    inputs = {}
    for tensor, (spec, dtype, tail, _) in zip(sent, checks, strict=True):
        shape = tuple(tensor.shape)
        data = tensor.data
        if (
            tensor.name != spec.name
            or tensor.datatype != spec.dtype.text
            or (shape[1:] if batched else shape) != tail
            or type(tensor.parameters) is not UnsetType
            # No element is larger than the root of the sum of all their squares; NaN fails too.
            or not hypot(*data) <= LARGEST[spec.dtype]
        ):
            return None
        if batched:
            if rows not in (0, shape[0]) or shape[0] < 1:
                return None
            rows = shape[0]
        try:
            inputs[spec.name] = np.array(data, dtype).reshape(shape)
        except ValueError:
            return None
    return InferRequest(signature, inputs, rows if batched else 1, id=request.id)
