"""An inference request's JSON body → arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from maas.core.errors import MaasError, invalid
from maas.core.messages import ModelView
from maas.core.signature import Signature, check_inputs, describe_inputs, describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.binary import read_blob
from maas.dialects.oip.body import Blobs
from maas.dialects.oip.flat import MOST_BYTES, decode_flat
from maas.dialects.oip.header import MOST_BYTES as MOST_HEADER
from maas.dialects.oip.header import decode_header
from maas.dialects.oip.raw import decode_raw
from maas.dialects.oip.request import (
    InferRequest,
    read_id,
    read_outputs,
    read_parameters,
    read_wishes,
    shared_memory_unimplemented,
)
from maas.dialects.signatures import pick_signature
from maas.dialects.tensorjson.arrays import MAX_RANK, to_array
from maas.dialects.tensorjson.document import Document, is_array, is_object, read

BINARY_ONLY = frozenset({DType.FP16, DType.BF16})
"""Datatypes that have no JSON form."""
_WHOLE = frozenset({int})


def decode_infer(body: bytes, view: ModelView, json_length: int | None = None) -> InferRequest:
    """Reads `POST /v2/models/M[/versions/V]/infer`.

    Args:
        body: JSON, and tensors in binary after it.
        view: the version that is asked.
        json_length: bytes of JSON, as `read_json_length` has it: None for the whole body, 0 for
            one that is nothing but the only input's tensor.

    Raises:
        MaasError: INVALID_ARGUMENT for whatever is wrong with the request; UNIMPLEMENTED for
            tensors in shared memory; TOO_LARGE.
    """
    signature = pick_signature(view)
    data = memoryview(b"")
    if json_length is None:
        if len(body) <= MOST_BYTES and signature.all_floats:
            request = decode_flat(body, signature)
            if request is not None:
                return request
    elif json_length == 0:
        return decode_raw(body, signature)
    else:
        data = memoryview(body)[json_length:]
        body = body[:json_length]
        if json_length <= MOST_HEADER:
            request = decode_header(body, data, signature)
            if request is not None:
                return request
    document = read(body)
    root = document.root
    wishes = read_wishes(root)
    outputs, classes, binary = read_outputs(root, signature, binary=wishes.binary)
    blobs = Blobs(data)
    inputs = _read_inputs(document, signature, blobs)
    blobs.end()
    rows = check_inputs(signature, inputs)
    return InferRequest(
        signature,
        inputs,
        rows,
        outputs,
        classes,
        read_id(root),
        wishes.timeout_s,
        wishes.priority,
        binary,
        wishes.binary and outputs is None,
    )


def _read_inputs(document: Document, signature: Signature, blobs: Blobs) -> dict[str, np.ndarray]:
    sent: Any = document.root.get("inputs")
    if not is_array(sent) or not len(sent):
        raise invalid(
            "inputs must be a list of objects with name, shape, datatype and data; "
            + describe_inputs(signature)
        )
    if len(sent) > len(signature.inputs):
        raise _surplus(sent, signature)
    # Tensors in binary have no data: then the outlines are found too few, and none is used.
    outlines = document.outlines("data", len(sent))
    inputs: dict[str, np.ndarray] = {}
    for index, tensor in enumerate(sent):
        name = tensor.get("name") if is_object(tensor) else None
        if not isinstance(name, str):
            raise invalid(f"inputs[{index}] must be an object with a name; ask for the metadata")
        spec = signature.input(name)
        if name in inputs:
            raise invalid(f"input {name!r} is sent twice; send each input once")
        inputs[name] = _read_tensor(document, tensor, spec, outlines[index], blobs)
    return inputs


def _surplus(sent: Any, signature: Signature) -> MaasError:
    """Names the first input too many."""
    seen: set[str] = set()
    for tensor in sent:
        name = tensor.get("name") if is_object(tensor) else None
        if isinstance(name, str):
            signature.input(name)
            if name in seen:
                return invalid(f"input {name!r} is sent twice; send each input once")
            seen.add(name)
    return invalid(f"there are {len(sent)} inputs; {describe_inputs(signature)}")


def _read_tensor(
    document: Document, tensor: Any, spec: TensorSpec, outline: bytes | None, blobs: Blobs
) -> np.ndarray:
    what = f"input {spec.name!r}"
    datatype = tensor.get("datatype")
    if datatype != spec.dtype:
        raise _wrong_datatype(datatype, spec, what)
    if "parameters" in tensor:
        size = _binary_size(tensor, what)
        if size is not None:
            return read_blob(
                blobs.take(size, what), spec, _read_shape(tensor.get("shape"), what), what
            )
    if "data" not in tensor:
        raise invalid(
            f"{what} has no data; send its values under data, flat or nested, or its bytes after "
            "the JSON with the parameter binary_data_size"
        )
    if spec.dtype in BINARY_ONLY:
        raise _wrong_datatype(datatype, spec, what)
    data = tensor["data"]
    if not is_array(data):
        raise invalid(f"data of {what} must be a list, flat or nested as its shape")
    array = to_array(document, data, spec, what, outline)
    shape = _read_shape(tensor.get("shape"), what)
    if array.shape == shape:
        return array
    if array.ndim == 1 or not array.size:
        try:
            return array.reshape(shape)
        except (ValueError, OverflowError):  # also [0, 2 ** 62, 2 ** 62], whose product is 0
            raise invalid(
                f"{what} holds {array.size} values where its shape {list(shape)} needs "
                f"{math.prod(shape)}"
            ) from None
    raise invalid(
        f"{what} has data of shape {list(array.shape)} where it says {list(shape)}; "
        "send data nested as the shape or flat"
    )


def _wrong_datatype(datatype: Any, spec: TensorSpec, what: str) -> MaasError:
    if not isinstance(datatype, str):
        return invalid(f"{what} has no datatype; expected {describe_spec(spec)}")
    if datatype in BINARY_ONLY:
        return invalid(
            f"{what} is {datatype}, which has no JSON form: send its bytes after the JSON, with "
            f"the parameter binary_data_size; expected {describe_spec(spec)}"
        )
    return invalid(f"{what} is {datatype[:20]}; expected {describe_spec(spec)}")


def _binary_size(tensor: Any, what: str) -> int | None:
    """How many bytes of the body are the tensor; None where it is in `data`."""
    parameters = read_parameters(tensor, what)
    sources = [key for key in ("binary_data_size", "shared_memory_region") if key in parameters]
    if "data" in tensor:
        sources.append("data")
    if len(sources) > 1:
        raise invalid(f"{what} has both {sources[0]} and {sources[1]}; send exactly one")
    if sources == ["shared_memory_region"]:
        raise shared_memory_unimplemented(what)
    if sources != ["binary_data_size"]:
        return None
    size = parameters["binary_data_size"]
    if type(size) is not int or size < 0:
        raise invalid(f"binary_data_size of {what} must be a whole number, 0 or more")
    return size


def _read_shape(shape: Any, what: str) -> tuple[int, ...]:
    if is_array(shape) and len(shape) <= MAX_RANK:
        sizes = tuple(shape)
        if set(map(type, sizes)) <= _WHOLE and (not sizes or min(sizes) >= 0):
            return sizes
    raise invalid(f"shape of {what} must be a list of at most {MAX_RANK} whole numbers, 0 or more")
