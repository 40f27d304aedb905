"""ModelInferRequest → arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from maas.core.errors import invalid
from maas.core.identity import ModelRef, parse_ref, parse_version
from maas.core.messages import ModelView
from maas.core.signature import check_inputs, describe_inputs, describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.binary import check_objects, read_blob
from maas.dialects.oip.request import InferRequest, shared_memory_unimplemented
from maas.dialects.oip_grpc.parameters import read_outputs, read_parameters
from maas.dialects.signatures import pick_signature

MAX_RANK = 32
RAW_ONLY = frozenset({DType.FP16, DType.BF16})
"""Element types that have no typed contents."""
_CONTENTS = {
    DType.BOOL: "bool_contents",
    DType.INT8: "int_contents",
    DType.INT16: "int_contents",
    DType.INT32: "int_contents",
    DType.INT64: "int64_contents",
    DType.UINT8: "uint_contents",
    DType.UINT16: "uint_contents",
    DType.UINT32: "uint_contents",
    DType.UINT64: "uint64_contents",
    DType.FP32: "fp32_contents",
    DType.FP64: "fp64_contents",
    DType.BYTES: "bytes_contents",
}
"""Which of InferTensorContents' fields holds the values of each element type."""
_WIDE = {
    "bool_contents": np.bool_,
    "int_contents": np.int32,
    "int64_contents": np.int64,
    "uint_contents": np.uint32,
    "uint64_contents": np.uint64,
    "fp32_contents": np.float32,
    "fp64_contents": np.float64,
}


def read_ref(name: str, version: str) -> ModelRef:
    """The model that a request names.

    Args:
        name: `iris`, or `iris@prod` for an alias.
        version: digits; empty for the one that serves.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    ref = parse_ref(name)
    if not version:
        return ref
    if ref.version is not None or ref.alias is not None:
        raise invalid(f"{name!r} and the version {version[:20]!r} both name a version; use one")
    return ModelRef(ref.name, version=parse_version(version))


def decode_infer(request: Any, raws: Sequence[memoryview], view: ModelView) -> InferRequest:
    """Reads a request.

    Args:
        request: a ModelInferRequest without its raw tensors.
        raws: those, in order.
        view: the version that is asked.

    Raises:
        MaasError: INVALID_ARGUMENT for whatever is wrong with it.
    """
    signature = pick_signature(view)
    sent = request.inputs
    if not len(sent):
        raise invalid(f"the request has no inputs; {describe_inputs(signature)}")
    if raws and len(raws) != len(sent):
        raise invalid(
            f"raw_input_contents has {len(raws)} entries for {len(sent)} inputs; send one for "
            "each, in their order"
        )
    inputs: dict[str, np.ndarray] = {}
    for index, tensor in enumerate(sent):
        spec = signature.input(tensor.name)
        if spec.name in inputs:
            raise invalid(f"input {spec.name!r} is sent twice; send each input once")
        inputs[spec.name] = _read_tensor(tensor, raws[index] if raws else None, spec)
    rows = check_inputs(signature, inputs)
    timeout_s, priority = read_parameters(request.parameters)
    outputs, classes = read_outputs(request.outputs, signature)
    return InferRequest(
        signature=signature,
        inputs=inputs,
        rows=rows,
        outputs=outputs,
        classes=classes,
        id=request.id or None,
        timeout_s=timeout_s,
        priority=priority,
    )


def _read_tensor(tensor: Any, raw: memoryview | None, spec: TensorSpec) -> np.ndarray:
    what = f"input {spec.name!r}"
    if tensor.datatype != spec.dtype.text:
        sent = tensor.datatype[:20] or "without a datatype"
        raise invalid(f"{what} is {sent}; expected {describe_spec(spec)}")
    # Counted first: a shape of millions would become as many objects.
    shape = tuple(tensor.shape) if len(tensor.shape) <= MAX_RANK else None
    if shape is None or (shape and min(shape) < 0):
        raise invalid(f"shape of {what} must be at most {MAX_RANK} whole numbers, 0 or more")
    if "shared_memory_region" in tensor.parameters:
        raise shared_memory_unimplemented(what)
    if raw is not None:
        if tensor.HasField("contents"):
            raise invalid(
                f"{what} has contents beside raw_input_contents; send values in one of the two"
            )
        return read_blob(raw, spec, shape, what)
    if spec.dtype in RAW_ONLY:
        raise invalid(f"{what} is {spec.dtype}, which travels in raw_input_contents only")
    return _typed(tensor.contents, spec, shape, what)


def _typed(contents: Any, spec: TensorSpec, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Values out of `contents`, where they stand in the field of the element type."""
    field = _CONTENTS[spec.dtype]
    for other, _ in contents.ListFields():
        if other.name != field:
            raise invalid(f"{what} is {spec.dtype} and has {other.name}; expected {field}")
    values = getattr(contents, field)
    count = math.prod(shape)
    if len(values) != count:
        raise invalid(
            f"{what} holds {len(values)} values where its shape {list(shape)} needs {count}"
        )
    if spec.dtype is DType.BYTES:
        check_objects(count, what)
        array = np.empty(count, object)
        array[:] = list(values)
        return array.reshape(shape)
    wide: np.ndarray = np.array(values, _WIDE[field])
    narrow = wide.astype(spec.dtype.numpy, copy=False)
    if spec.dtype.is_integer and not np.array_equal(wide, narrow):
        raise invalid(f"{what} holds values that do not fit {spec.dtype}")
    return narrow.reshape(shape)
