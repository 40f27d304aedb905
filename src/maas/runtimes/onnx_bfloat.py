"""bfloat16 through ONNX Runtime, whose NumPy interface does not know it: by `OrtValue`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from maas.core.errors import invalid
from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors

BFLOAT16 = 16
"""TensorProto.DataType of bfloat16. Source: onnx/onnx.proto."""

Run = Callable[[Sequence[str], Mapping[str, Any]], Sequence[np.ndarray]]


def runner_of(session: Any, signature: Signature) -> Run:
    """What runs a signature: `session.run` itself, unless a tensor of it is bfloat16.

    Args:
        session: an `onnxruntime.InferenceSession`.
        signature: what it takes and gives.

    Raises:
        MaasError: INVALID_ARGUMENT where it takes texts and gives bfloat16.
    """
    takes = any(spec.dtype is DType.BF16 for spec in signature.inputs)
    gives = any(spec.dtype is DType.BF16 for spec in signature.outputs)
    run: Run = session.run
    if not takes and not gives:
        return run
    if not gives:
        return lambda names, inputs: run(
            names,
            {n: _value_of(a) if a.dtype == DType.BF16.numpy else a for n, a in inputs.items()},
        )
    for spec in signature.inputs:
        if spec.dtype is DType.BYTES:
            raise invalid(
                f"the model takes texts ({spec.name!r}) and gives bfloat16, which ONNX Runtime "
                "cannot do in one call; cast its outputs to float32 and export it again"
            )

    def run_by_values(names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        given = {name: _value_of(array) for name, array in inputs.items()}
        return [_array_of(value) for value in session.run_with_ort_values(names, given)]

    return run_by_values


def _value_of(array: np.ndarray) -> Any:
    from onnxruntime import OrtValue

    if array.dtype != DType.BF16.numpy:
        return OrtValue.ortvalue_from_numpy(array)
    whole = np.ascontiguousarray(array).view(np.uint16)
    return OrtValue.ortvalue_from_numpy_with_onnx_type(whole, BFLOAT16)


def _array_of(value: Any) -> np.ndarray:
    if value.element_type() != BFLOAT16:
        array: np.ndarray = value.numpy()
        return array
    shape = value.shape()
    size = prod(shape)
    if not size:
        return np.empty(shape, DType.BF16.numpy)
    # A copy: the memory goes with the value.
    raw = ctypes.string_at(value.data_ptr(), size * DType.BF16.numpy.itemsize)
    return np.frombuffer(raw, DType.BF16.numpy).reshape(shape)
