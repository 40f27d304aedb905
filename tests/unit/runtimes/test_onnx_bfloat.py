"""bfloat16 through ONNX Runtime, beside every other kind of tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, ValueInfoProto, helper

from maas.core.errors import MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.onnx import OnnxRuntime, OnnxServable

BF16 = DType.BF16.numpy
KINDS = {
    "b": (TensorProto.BFLOAT16, DType.BF16),
    "f": (TensorProto.FLOAT, DType.FP32),
    "t": (TensorProto.STRING, DType.BYTES),
}
Load = Callable[[str, str], OnnxServable]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a model that takes some of `KINDS` and answers some of them as `b_out` and so on."""

    def load(takes: str, gives: str) -> OnnxServable:
        def values(names: str, suffix: str = "") -> list[ValueInfoProto]:
            return [helper.make_tensor_value_info(n + suffix, KINDS[n][0], ["n", 2]) for n in names]

        def specs(names: str, suffix: str = "") -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(n + suffix, KINDS[n][1], (None, 2)) for n in names)

        nodes = [helper.make_node("Identity", [n], [f"{n}_out"]) for n in takes]
        graph = helper.make_graph(nodes, "g", values(takes), values(gives, "_out"))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        signature = Signature(DEFAULT_SIGNATURE, specs(takes), specs(gives, "_out"), batched=True)
        artifact = Artifact(str(tmp_path), "m.onnx", "onnx", {DEFAULT_SIGNATURE: signature})
        return OnnxRuntime().load(artifact, Device())

    return load


@pytest.mark.parametrize("rows", [3, 0])
def test_every_bit_comes_back(load: Load, rows: int) -> None:
    bits = np.arange(0, 65536, 65536 // 6).astype(np.uint16)[:6].reshape(3, 2)[:rows]
    floats = np.arange(6, dtype=np.float32).reshape(3, 2)[:rows]
    outputs = load("bf", "bf").infer(DEFAULT_SIGNATURE, {"b": bits.view(BF16), "f": floats})
    assert outputs["b_out"].dtype == BF16
    assert outputs["b_out"].shape == (rows, 2)
    assert outputs["b_out"].tobytes() == bits.tobytes()
    assert outputs["f_out"].tolist() == floats.tolist()


def test_what_is_not_contiguous_goes_in_as_it_reads(load: Load) -> None:
    whole = np.arange(12).reshape(2, 6).astype(BF16)
    outputs = load("b", "b").infer(DEFAULT_SIGNATURE, {"b": whole[:, ::3]})
    assert outputs["b_out"].astype(float).tolist() == [[0, 3], [6, 9]]


def test_texts_may_stand_beside_it_where_it_only_goes_in(load: Load) -> None:
    texts = np.array([[b"a", "中".encode()]], object)
    inputs = {"b": np.ones((1, 2), BF16), "t": texts}
    assert load("bt", "t").infer(DEFAULT_SIGNATURE, inputs)["t_out"].tolist() == texts.tolist()
    with pytest.raises(MaasError, match="takes texts \\('t'\\) and gives bfloat16"):
        load("bt", "bt")
