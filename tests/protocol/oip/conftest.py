"""A server with two models that answer what they are asked, in every datatype there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.server import Server, serving

from maas.core.tensor import DType

KINDS = {
    DType.BOOL: TensorProto.BOOL,
    DType.UINT8: TensorProto.UINT8,
    DType.UINT16: TensorProto.UINT16,
    DType.UINT32: TensorProto.UINT32,
    DType.UINT64: TensorProto.UINT64,
    DType.INT8: TensorProto.INT8,
    DType.INT16: TensorProto.INT16,
    DType.INT32: TensorProto.INT32,
    DType.INT64: TensorProto.INT64,
    DType.FP16: TensorProto.FLOAT16,
    DType.FP32: TensorProto.FLOAT,
    DType.FP64: TensorProto.DOUBLE,
    DType.BYTES: TensorProto.STRING,
}


def save_echo(path: Path, kinds: dict[DType, int]) -> Path:
    """A model that takes `FP32` [n, 2] and so on, and answers each as `FP32_out`."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds],
        "echo",
        [helper.make_tensor_value_info(name, kind, ["n", 2]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info(f"{n}_out", kind, ["n", 2]) for n, kind in kinds.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture(scope="session")
def echoes(front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(f"{front}-echoes")
    with serving(folder / "home", front) as running:
        running.publish(save_echo(folder / "every.onnx", KINDS), "every")
        half = {DType.BF16: TensorProto.BFLOAT16}
        running.publish(save_echo(folder / "half.onnx", half), "half")
        yield running


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    """Two rows of each datatype."""
    found: dict[str, np.ndarray] = {}
    for dtype in DType:
        if dtype is DType.BYTES:
            values: list[list[object]] = [["中".encode(), b""], [b"a", b"b" * 300]]
        elif dtype is DType.BOOL:
            values = [[True, False], [False, True]]
        elif dtype.is_float:
            values = [[1.5, -dtype.largest], [float("inf"), 0.0]]
        else:
            limits = np.iinfo(dtype.numpy)
            values = [[limits.min, limits.max], [0, 1]]
        found[dtype.value] = np.array(values, dtype.numpy)
    return found
