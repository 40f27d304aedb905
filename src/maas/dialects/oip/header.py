"""The commonest binary request, read in one pass: every input in binary, nothing unusual asked.

Whatever does not fit, most errors included, is left to `decode`, as in `flat`.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct, UnsetType

from maas.core.signature import Signature, check_inputs
from maas.dialects.oip.binary import read_blob
from maas.dialects.oip.request import InferRequest
from maas.dialects.tensorjson.arrays import MAX_RANK

MOST_BYTES = 4096
"""Longer JSON parts are not the common form."""


class _Size(Struct, gc=False, forbid_unknown_fields=True):
    binary_data_size: int


class _Tensor(Struct, gc=False, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: _Size


class _Form(Struct, gc=False, forbid_unknown_fields=True):
    binary_data: bool = False


class _Output(Struct, gc=False, forbid_unknown_fields=True):
    name: str
    parameters: _Form | UnsetType = UNSET


class _Whole(Struct, gc=False, forbid_unknown_fields=True):
    binary_data_output: bool = False


class _Request(Struct, gc=False, forbid_unknown_fields=True):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Output] | UnsetType = UNSET
    parameters: _Whole | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_Request)


def decode_header(text: bytes, data: memoryview, signature: Signature) -> InferRequest | None:
    """Reads a request, or gives None where it is not of the common form.

    Args:
        text: the JSON part, at most `MOST_BYTES`.
        data: the tensors.
        signature: what the model takes.

    Raises:
        MaasError: INVALID_ARGUMENT for tensors that are not as they say or as the model takes.
    """
    try:
        request = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    sent = request.inputs
    if len(sent) != len(signature.inputs):
        return None
    blobs = []
    at = 0
    for tensor, spec in zip(sent, signature.inputs, strict=True):
        start, at = at, at + tensor.parameters.binary_data_size
        shape = tensor.shape
        if (
            tensor.name != spec.name
            or tensor.datatype != spec.dtype.text
            or not start <= at <= len(data)
            or len(shape) > MAX_RANK
            or min(shape, default=0) < 0
        ):
            return None
        blobs.append((spec, data[start:at], tuple(shape)))
    if at != len(data):
        return None
    whole = request.parameters
    default = not isinstance(whole, UnsetType) and whole.binary_data_output
    names: tuple[str, ...] | None = None
    binary: tuple[bool, ...] = ()
    if not isinstance(request.outputs, UnsetType) and request.outputs:
        names = tuple([output.name for output in request.outputs])
        known = {spec.name for spec in signature.outputs}
        if len(set(names)) < len(names) or not known.issuperset(names):
            return None
        binary = tuple(
            [
                default if isinstance(form := output.parameters, UnsetType) else form.binary_data
                for output in request.outputs
            ]
        )
    inputs = {
        spec.name: read_blob(blob, spec, shape, f"input {spec.name!r}")
        for spec, blob, shape in blobs
    }
    rows = check_inputs(signature, inputs)
    return InferRequest(
        signature,
        inputs,
        rows,
        names,
        id=request.id,
        binary=binary if any(binary) else (),
        all_binary=default and names is None,
    )
