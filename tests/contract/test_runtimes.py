"""The built-in runtimes pass the suite that is shipped for anybody's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from maas.core.ports import Artifact
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.onnx import OnnxRuntime
from maas.runtimes.openvino import OpenVINORuntime
from maas.runtimes.plugins import load_runtimes
from maas.runtimes.sklearn import SklearnRuntime
from maas.testing.runtime import check_runtime

X, Y = load_iris(return_X_y=True)
ROWS = {"x": X[::20].astype(np.float32)}


def artifact_of(folder: Path, entry: str, format_: str, inputs, outputs, batched=True) -> Artifact:
    signature = Signature(DEFAULT_SIGNATURE, tuple(inputs), tuple(outputs), batched)
    return Artifact(str(folder), entry, format_, {DEFAULT_SIGNATURE: signature})


def test_built_ins_are_found_through_entry_points():
    runtimes = load_runtimes()
    assert isinstance(runtimes["onnx"], OnnxRuntime)
    assert isinstance(runtimes["openvino"], OpenVINORuntime)
    assert isinstance(runtimes["sklearn"], SklearnRuntime)


def test_onnx_numbers(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], list(np.arange(8.0)))
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    artifact = artifact_of(
        tmp_path,
        "m.onnx",
        "onnx",
        [TensorSpec("x", DType.FP32, (None, 4))],
        [TensorSpec("y", DType.FP32, (None, 2))],
    )
    check_runtime(OnnxRuntime(), artifact, ROWS)
    check_runtime(OpenVINORuntime(), artifact, ROWS)


def test_onnx_text(tmp_path):
    x = helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])
    y = helper.make_tensor_value_info("same", TensorProto.STRING, ["n"])
    graph = helper.make_graph([helper.make_node("Identity", ["text"], ["same"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    artifact = artifact_of(
        tmp_path,
        "m.onnx",
        "onnx",
        [TensorSpec("text", DType.BYTES, (None,))],
        [TensorSpec("same", DType.BYTES, (None,))],
    )
    texts = np.array(["服务".encode(), b"", "naïve".encode()], dtype=object)
    check_runtime(OnnxRuntime(), artifact, {"text": texts})


def test_sklearn_numbers(tmp_path):
    skops.io.dump(LogisticRegression(max_iter=500).fit(X, Y), tmp_path / "m.skops")
    artifact = artifact_of(
        tmp_path,
        "m.skops",
        "skops",
        [TensorSpec("x", DType.FP32, (None, 4))],
        [
            TensorSpec("label", DType.INT64, (None,)),
            TensorSpec("probabilities", DType.FP32, (None, 3)),
        ],
    )
    check_runtime(SklearnRuntime(), artifact, ROWS)


def test_sklearn_text(tmp_path):
    texts = ["好 服务", "坏 服务", "good", "bad"]
    model = make_pipeline(TfidfVectorizer(analyzer="char_wb"), LogisticRegression())
    skops.io.dump(model.fit(texts, ["good", "bad", "good", "bad"]), tmp_path / "m.skops")
    artifact = artifact_of(
        tmp_path,
        "m.skops",
        "skops",
        [TensorSpec("text", DType.BYTES, (None,))],
        [TensorSpec("label", DType.BYTES, (None,))],
    )
    rows = np.array([text.encode() for text in texts], dtype=object)
    check_runtime(SklearnRuntime(), artifact, {"text": rows})


class _Wrong:
    """A runtime that breaks its word in one way."""

    def __init__(self, inner, change):
        self._inner, self._change = inner, change
        self.name, self.platform = inner.name, inner.platform
        self.formats, self.host = inner.formats, inner.host
        self.confined = inner.confined

    def estimate(self, artifact):
        return self._inner.estimate(artifact)

    def load(self, artifact, device):
        servable = self._inner.load(artifact, device)
        infer = servable.infer
        servable.infer = lambda signature, inputs: self._change(infer(signature, inputs))
        return servable


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda out: {"label": out["label"].astype(np.int32)}, "outputs are"),
        (lambda out: {**out, "label": out["label"].astype(np.int32)}, "is int32"),
        (lambda out: {**out, "label": out["label"][:-1]}, "rows for"),
        (
            lambda out: {
                **out,
                "probabilities": out["probabilities"] - out["probabilities"].mean(0),
            },
            "run apart differs",
        ),
    ],
)
def test_the_suite_notices(tmp_path, change, said):
    skops.io.dump(LogisticRegression(max_iter=500).fit(X, Y), tmp_path / "m.skops")
    artifact = artifact_of(
        tmp_path,
        "m.skops",
        "skops",
        [TensorSpec("x", DType.FP32, (None, 4))],
        [
            TensorSpec("label", DType.INT64, (None,)),
            TensorSpec("probabilities", DType.FP32, (None, 3)),
        ],
    )
    with pytest.raises(AssertionError, match=said):
        check_runtime(_Wrong(SklearnRuntime(), change), artifact, ROWS)
