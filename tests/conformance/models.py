"""Models with an input of every datatype, each given back as it came; and two that add up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
    "BF16": TensorProto.BFLOAT16,
}


MODELS = {
    "types": tuple(kind for kind in DATATYPES if kind != "BF16"),
    "bfloat": ("BF16",),
    "typed": tuple(kind for kind in DATATYPES if kind not in ("FP16", "BF16")),
}
"""The datatypes of each model; `typed` has those that a gRPC message holds otherwise than raw."""


def identity(path: Path, kinds: Sequence[str]) -> Path:
    """`in_fp32` [n, 2] → `out_fp32`, and so on for each datatype."""
    nodes, inputs, outputs = [], [], []
    for name in kinds:
        source, target = f"in_{name.lower()}", f"out_{name.lower()}"
        nodes.append(helper.make_node("Identity", [source], [target]))
        inputs.append(helper.make_tensor_value_info(source, DATATYPES[name], ["n", 2]))
        outputs.append(helper.make_tensor_value_info(target, DATATYPES[name], ["n", 2]))
    return _save(path, nodes, inputs, outputs)


def mean(path: Path) -> Path:
    """`x` [n, 2] → `value` [n, 1], the mean of each row: what can be regressed."""
    return _reduced(path, "ReduceMean", [1], keepdims=1)


def total(path: Path) -> Path:
    """`x` [n, 2] → `value`, one number for all rows together."""
    return _reduced(path, "ReduceSum", [0, 1], keepdims=0)


def _reduced(path: Path, operator: str, axes: list[int], *, keepdims: int) -> Path:
    node = helper.make_node(operator, ["x", "axes"], ["value"], keepdims=keepdims)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])]
    shape = ["n", 1] if keepdims else []
    outputs = [helper.make_tensor_value_info("value", TensorProto.FLOAT, shape)]
    constants = [numpy_helper.from_array(np.array(axes, np.int64), "axes")]
    return _save(path, [node], inputs, outputs, constants)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path
