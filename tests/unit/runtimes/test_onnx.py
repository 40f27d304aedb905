from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.onnx import OnnxRuntime


@pytest.fixture
def loaded(tmp_path):
    """Loads a model of one node with the given kinds of tensors."""

    def make(node, kinds=(TensorProto.FLOAT, DType.FP32), shape=("n", 4)):
        element, dtype = kinds
        shapes = [None if isinstance(size, str) else size for size in shape]
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", element, list(shape))],
            [helper.make_tensor_value_info("y", element, list(shape))],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        signature = Signature(
            DEFAULT_SIGNATURE,
            (TensorSpec("x", dtype, tuple(shapes)),),
            (TensorSpec("y", dtype, tuple(shapes)),),
            batched=True,
        )
        artifact = Artifact(str(tmp_path), "m.onnx", "onnx", {DEFAULT_SIGNATURE: signature})
        return OnnxRuntime().load(artifact, Device())

    return make


@pytest.mark.parametrize(
    ("element", "dtype"),
    [
        (TensorProto.FLOAT, DType.FP32),
        (TensorProto.DOUBLE, DType.FP64),
        (TensorProto.FLOAT16, DType.FP16),
        (TensorProto.BFLOAT16, DType.BF16),
        (TensorProto.INT64, DType.INT64),
        (TensorProto.UINT8, DType.UINT8),
        (TensorProto.BOOL, DType.BOOL),
    ],
)
def test_values_pass_unchanged(loaded, element, dtype):
    servable = loaded(helper.make_node("Identity", ["x"], ["y"]), (element, dtype))
    rows = np.arange(8).reshape(2, 4).astype(dtype.numpy)
    answer = servable.infer(DEFAULT_SIGNATURE, {"x": rows})["y"]
    assert answer.dtype == dtype.numpy
    np.testing.assert_array_equal(answer, rows)


def test_text_goes_in_and_out_as_utf8_bytes(loaded):
    kinds = (TensorProto.STRING, DType.BYTES)
    servable = loaded(helper.make_node("Identity", ["x"], ["y"]), kinds, ("n",))
    rows = np.array(["模型".encode(), b"", b"a\x00b"], dtype=object)
    assert servable.infer(DEFAULT_SIGNATURE, {"x": rows})["y"].tolist() == rows.tolist()


def test_what_is_not_utf8_is_the_callers_fault(loaded):
    kinds = (TensorProto.STRING, DType.BYTES)
    servable = loaded(helper.make_node("Identity", ["x"], ["y"]), kinds, ("n",))
    with pytest.raises(MaasError) as caught:
        servable.infer(DEFAULT_SIGNATURE, {"x": np.array([b"\xff"], dtype=object)})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "'x'" in caught.value.message


def test_a_refusal_is_one_sentence_without_paths(loaded):
    servable = loaded(helper.make_node("Relu", ["x"], ["y"]))
    with pytest.raises(MaasError) as caught:
        servable.infer(DEFAULT_SIGNATURE, {"x": np.zeros((2, 5), np.float32)})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "Got: 5 Expected: 4" in caught.value.message
    assert "\n" not in caught.value.message
    assert "/" not in caught.value.message.replace("inputs/outputs", "")


def test_a_broken_file_is_a_failed_precondition(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09nonsense")
    artifact = Artifact(str(tmp_path), "m.onnx", "onnx", {})
    with pytest.raises(MaasError) as caught:
        OnnxRuntime().load(artifact, Device())
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert str(tmp_path) not in caught.value.message


def test_the_estimate_counts_external_data(tmp_path):
    (tmp_path / "m.onnx").write_bytes(bytes(1000))
    (tmp_path / "w.bin").write_bytes(bytes(1_000_000))
    artifact = Artifact(str(tmp_path), "m.onnx", "onnx", {})
    assert OnnxRuntime().estimate(artifact).memory_bytes > 4_000_000


def test_importing_the_runtimes_imports_no_framework():
    code = (
        "import sys; from maas.runtimes.plugins import load_runtimes; load_runtimes();"
        "print([m for m in ('onnxruntime', 'openvino', 'onnx', 'sklearn', 'skops', 'scipy')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout.strip() == "[]"
