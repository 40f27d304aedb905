"""Tensors of every datatype, and how tritonclient's four modules take them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

EVERY = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-32768, 32767]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[1.5, -0.25]], np.float16),
    "FP32": np.array([[1.1, -3e38]], np.float32),
    "FP64": np.array([[1.1, -1e308]], np.float64),
    "BYTES": np.array([["花".encode(), b"a"]], np.object_),
    "BF16": np.array([[1.5, -2.0]], ml_dtypes.bfloat16),
}
MODELS = {
    "types": {kind: array for kind, array in EVERY.items() if kind != "BF16"},
    "bfloat": {"BF16": EVERY["BF16"]},
}
"""What the models of `models.types` take."""


def sent(triton: Any, kind: str, array: np.ndarray, *, binary: bool | None = None) -> Any:
    """An input of the model `types`; `binary` only where the module has the choice, HTTP."""
    tensor = triton.InferInput(f"in_{kind.lower()}", list(array.shape), kind)
    if binary is None:
        tensor.set_data_from_numpy(array)
    else:
        tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def of_iris(triton: Any, flower: list[float], *, binary: bool | None = None) -> Any:
    """The input of a model of flowers."""
    array = np.array([flower], np.float32)
    tensor = triton.InferInput("x", list(array.shape), "FP32")
    if binary is None:
        tensor.set_data_from_numpy(array)
    else:
        tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def wanted(triton: Any, *names: str, binary: bool | None = None) -> list[Any]:
    """Requested outputs."""
    if binary is None:
        return [triton.InferRequestedOutput(name) for name in names]
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def same(found: np.ndarray, array: np.ndarray, kind: str) -> None:
    """Checks that an array came back as it went."""
    assert found.shape == array.shape, (kind, found.shape)
    values = found.tolist()
    if kind == "BYTES":
        values = [[one.encode() if isinstance(one, str) else one for one in row] for row in values]
    assert values == array.tolist(), (kind, values)
