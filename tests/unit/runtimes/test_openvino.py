from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests import nets

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.onnx import OnnxRuntime
from maas.runtimes.openvino import OpenVINORuntime, padded

ELEMENTS = {
    DType.FP32: TensorProto.FLOAT,
    DType.FP16: TensorProto.FLOAT16,
    DType.FP64: TensorProto.DOUBLE,
    DType.INT32: TensorProto.INT32,
    DType.INT64: TensorProto.INT64,
    DType.UINT8: TensorProto.UINT8,
    DType.UINT64: TensorProto.UINT64,
    DType.BOOL: TensorProto.BOOL,
    DType.BYTES: TensorProto.STRING,
}


def artifact_of(folder: Path, model, inputs, outputs, batched=True) -> Artifact:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    signature = Signature(DEFAULT_SIGNATURE, tuple(inputs), tuple(outputs), batched)
    return Artifact(str(folder), "model.onnx", "onnx", {DEFAULT_SIGNATURE: signature})


def one_node(folder: Path, node, takes: DType, gives: DType, shape=(None, 4)) -> Artifact:
    sizes = ["n" if size is None else size for size in shape]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", ELEMENTS[takes], sizes)],
        [helper.make_tensor_value_info("y", ELEMENTS[gives], sizes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return artifact_of(
        folder, model, [TensorSpec("x", takes, shape)], [TensorSpec("y", gives, shape)]
    )


def net(folder: Path, model, x: tuple, y: tuple) -> Artifact:
    inputs, outputs = TensorSpec("x", DType.FP32, x), TensorSpec("y", DType.FP32, y)
    return artifact_of(folder, model, [inputs], [outputs])


@pytest.fixture
def perceptron(tmp_path) -> Artifact:
    return net(tmp_path, nets.perceptron(), (None, 4), (None, 3))


def both(artifact: Artifact, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    answers = []
    for runtime in (OpenVINORuntime(), OnnxRuntime()):
        servable = runtime.load(artifact, Device())
        answers.append(servable.infer(DEFAULT_SIGNATURE, {"x": x})["y"])
        servable.close()
    return answers[0], answers[1]


@pytest.mark.parametrize("rows", [0, 1, 2, 8, 9, 33, 70])
def test_any_number_of_rows(perceptron, rows):
    x = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
    mine, reference = both(perceptron, x)
    assert mine.shape == (rows, 3)
    np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [nets.residual, nets.mobile], ids=["residual", "mobile"])
def test_images_in_float32(tmp_path, make):
    model = make(2)
    shape = [d.dim_value or None for d in model.graph.input[0].type.tensor_type.shape.dim]
    out = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    x = np.random.default_rng(0).standard_normal((3, *shape[1:])).astype(np.float32)
    mine, reference = both(net(tmp_path, model, tuple(shape), (None, out)), x)
    # bfloat16, which it would choose itself where the processor has it, is off by 1e-2.
    np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-5)


def test_sizes_of_batches():
    sizes = [padded(rows) for rows in range(257)]
    assert all(size >= rows for rows, size in enumerate(sizes))
    assert all(size <= 1.25 * rows for rows, size in enumerate(sizes))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 29
    assert padded(padded(100)) == padded(100)


def test_answers_stay_when_the_next_call_comes(perceptron):
    servable = OpenVINORuntime().load(perceptron, Device())
    first = servable.infer(DEFAULT_SIGNATURE, {"x": np.ones((2, 4), np.float32)})["y"]
    kept = first.copy()
    servable.infer(DEFAULT_SIGNATURE, {"x": np.full((2, 4), -3, np.float32)})
    np.testing.assert_array_equal(first, kept)
    servable.close()


def test_arrays_as_they_come(perceptron):
    """Read-only, not aligned, not contiguous: as they come out of a frame."""
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    shifted = np.frombuffer(b"abc" + x.tobytes(), np.float32, 8, 3).reshape(2, 4)
    servable = OpenVINORuntime().load(perceptron, Device())
    want = servable.infer(DEFAULT_SIGNATURE, {"x": x})["y"]
    for array in (shifted, np.asfortranarray(x), np.frombuffer(x.tobytes(), np.float32)):
        given = array.reshape(2, 4)
        np.testing.assert_array_equal(servable.infer(DEFAULT_SIGNATURE, {"x": given})["y"], want)
    servable.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_answered_as_onnx_runtime_does(perceptron, value):
    x = np.ones((3, 4), np.float32)
    x[1, 2] = value
    mine, reference = both(perceptron, x)
    np.testing.assert_array_equal(mine, reference)
    assert np.isnan(mine[1]).all()
    assert np.isfinite(mine[[0, 2]]).all()


@pytest.mark.parametrize("value", [2**31, 2**40, -(2**33)])
def test_integers_beyond_32_bits(tmp_path, value):
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    artifact = one_node(tmp_path, node, DType.INT64, DType.FP32)
    x = np.array([[1, 2, 3, value]])
    mine, reference = both(artifact, x)
    np.testing.assert_array_equal(mine, reference)
    assert mine[0, 3] == np.float32(value)


@pytest.mark.parametrize("dtype", [DType.FP16, DType.INT32, DType.UINT8, DType.BOOL])
def test_types_come_out_as_they_went_in(tmp_path, dtype):
    artifact = one_node(tmp_path, helper.make_node("Identity", ["x"], ["y"]), dtype, dtype)
    x = np.array([[0, 1, 0, 100]]).astype(dtype.numpy)
    mine, reference = both(artifact, x)
    assert mine.dtype == reference.dtype == dtype.numpy
    np.testing.assert_array_equal(mine, x)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        (DType.BYTES, "'x' holds texts"),
        (DType.FP64, "'x' is float64, which it computes in float32"),
        (DType.INT64, "'y' may be a large integer, and it counts in 32 bits"),
        (DType.UINT64, "'y' may be a large integer"),
    ],
)
def test_types_that_it_would_compute_in_another(tmp_path, dtype, said):
    artifact = one_node(tmp_path, helper.make_node("Identity", ["x"], ["y"]), dtype, dtype)
    error = refused(artifact)
    assert said in error.message
    OnnxRuntime().load(artifact, Device()).close()


def test_trees_and_other_operators_of_ai_onnx_ml(tmp_path):
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
    artifact = one_node(tmp_path, node, DType.FP32, DType.FP32)
    assert "ai.onnx.ml.Scaler" in refused(artifact).message


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08\x09nonsense", b"<?xml version='1.0'?><net/>"],
    ids=["empty", "nonsense", "another format of OpenVINO's"],
)
def test_what_is_no_onnx(perceptron, content):
    perceptron.file.write_bytes(content)
    error = refused(perceptron)
    assert perceptron.path not in error.message
    assert ".cpp" not in error.message


def test_a_signature_that_is_not_the_models(perceptron):
    inner = perceptron.signatures[DEFAULT_SIGNATURE]
    for changed in (
        Signature(
            DEFAULT_SIGNATURE, (TensorSpec("z", DType.FP32, (None, 4)),), inner.outputs, True
        ),
        Signature(DEFAULT_SIGNATURE, inner.inputs, (TensorSpec("z", DType.FP32, (None,)),), True),
    ):
        other = Artifact(perceptron.path, perceptron.entry, "onnx", {DEFAULT_SIGNATURE: changed})
        assert "'z'" in refused(other).message


def refused(artifact: Artifact) -> MaasError:
    with pytest.raises(MaasError) as caught:
        OpenVINORuntime().load(artifact, Device())
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "\n" not in caught.value.message
    return caught.value


def test_wrong_shapes_are_the_callers_fault(perceptron):
    servable = OpenVINORuntime().load(perceptron, Device())
    with pytest.raises(MaasError) as caught:
        servable.infer(DEFAULT_SIGNATURE, {"x": np.ones((2, 5), np.float32)})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "[?,4]" in caught.value.message
    assert servable.infer(DEFAULT_SIGNATURE, {"x": np.ones((1, 4), np.float32)})["y"].shape == (
        1,
        3,
    )
    servable.close()


def test_several_threads(perceptron):
    servable = OpenVINORuntime().load(perceptron, Device(threads=2))
    assert servable.infer(DEFAULT_SIGNATURE, {"x": np.ones((9, 4), np.float32)})["y"].shape == (
        9,
        3,
    )
    servable.close()


def test_the_estimate_is_above_what_loading_takes(perceptron):
    assert OpenVINORuntime().estimate(perceptron).memory_bytes > 100 << 20


def test_without_openvino(perceptron, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "install maas-server[openvino]" in refused(perceptron).message


def test_a_file_for_each_signature(tmp_path):
    signatures = {}
    for name, widths in {"serving_default": (4, 8, 3), "wide": (4, 8, 5)}.items():
        (tmp_path / f"{name}.onnx").write_bytes(nets.perceptron(widths).SerializeToString())
        inputs = (TensorSpec("x", DType.FP32, (None, 4)),)
        outputs = (TensorSpec("y", DType.FP32, (None, widths[-1])),)
        signatures[name] = Signature(name, inputs, outputs, batched=True)
    artifact = Artifact(str(tmp_path), "serving_default.onnx", "onnx", signatures)
    x = {"x": np.ones((2, 4), np.float32)}
    for runtime in (OnnxRuntime(), OpenVINORuntime()):
        servable = runtime.load(artifact, Device())
        assert servable.infer("serving_default", x)["y"].shape == (2, 3)
        assert servable.infer("wide", x)["y"].shape == (2, 5)
        servable.close()


@pytest.mark.parametrize("name", ["../model", "a/b", ".hidden", "", "x" * 200, "a\nb"])
def test_a_signature_that_names_no_file(perceptron, name):
    inner = perceptron.signatures[DEFAULT_SIGNATURE]
    signatures = {DEFAULT_SIGNATURE: inner, name: inner}
    artifact = Artifact(perceptron.path, perceptron.entry, "onnx", signatures)
    assert "cannot name a file" in refused(artifact).message
    with pytest.raises(MaasError, match="cannot name a file"):
        OnnxRuntime().load(artifact, Device())


DRILL = """
import ctypes, sys
import numpy as np
from pathlib import Path
from maas.core.ports import Artifact, Device
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.openvino import OpenVINORuntime

x, y = TensorSpec("x", DType.FP32, (None, 3, 16, 16)), TensorSpec("y", DType.FP32, (None, 10))
signatures = {"serving_default": Signature("serving_default", (x,), (y,), True)}
artifact = Artifact(sys.argv[1], "model.onnx", "onnx", signatures)

def resident():
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def load_and_unload(value):
    servable = OpenVINORuntime().load(artifact, Device())
    for rows in (1, 8, 20):
        servable.infer("serving_default", {"x": np.full((rows, 3, 16, 16), value, np.float32)})
    servable.close()

for value in (1, np.nan, 1):
    load_and_unload(value)
before = resident()
for turn in range(100):
    load_and_unload(np.nan if turn % 10 == 0 else 1)
print((resident() - before) >> 20)
"""


SIGNALLED = """
import gc, os, signal, sys, threading
from maas.core.ports import Artifact, Device
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.openvino import OpenVINORuntime

x, y = TensorSpec("x", DType.FP32, (None, 4)), TensorSpec("y", DType.FP32, (None, 3))
signatures = {"serving_default": Signature("serving_default", (x,), (y,), True)}
held = [OpenVINORuntime().load(Artifact(sys.argv[1], "model.onnx", "onnx", signatures), Device())]

def drop():
    held.pop().close()
    gc.collect()

thread = threading.Thread(target=drop)
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda number, frame: print("caught", number))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_the_last_model_has_gone(perceptron):
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALLED, perceptron.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "caught 15\n")


def test_closing_gives_memory_back(tmp_path):
    net(tmp_path, nets.residual(), (None, 3, 16, 16), (None, 10))
    done = subprocess.run(
        [sys.executable, "-c", DRILL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20, f"{done.stdout} MiB more after 100 loads"
