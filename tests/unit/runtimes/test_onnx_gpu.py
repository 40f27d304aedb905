"""GPU providers where there is none: what is missing is named. `tests/gpu` has the rest."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Accelerated, Artifact, Device
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish.engines import check_engine, racers
from maas.runtimes.onnx import OnnxRuntime, open_session
from maas.runtimes.onnx_gpu import OnnxCudaRuntime, OnnxTensorRTRuntime, profile_of
from maas.runtimes.openvino import OpenVINORuntime

X = TensorSpec("x", DType.FP32, (None, 3))
Y = TensorSpec("y", DType.FP32, (None, 3))


def signature(*inputs: TensorSpec, batched: bool = True) -> Signature:
    return Signature("serving_default", inputs or (X,), (Y,), batched)


@pytest.fixture
def model(tmp_path) -> Artifact:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    return Artifact(str(tmp_path), "m.onnx", "onnx", {"serving_default": signature()})


@pytest.fixture
def nothing(tmp_path):
    """Runtimes of a machine that has neither the driver nor the provider."""
    gone = (str(tmp_path / "nvidiactl"),)
    return {
        runtime.name: runtime
        for runtime in (
            OnnxRuntime(),
            OpenVINORuntime(),
            OnnxCudaRuntime(gone, tmp_path),
            OnnxTensorRTRuntime(gone, tmp_path),
        )
    }


def test_what_is_missing_is_named(nothing, tmp_path):
    cuda, tensorrt = nothing["onnx-cuda"], nothing["onnx-tensorrt"]
    assert isinstance(cuda, Accelerated)
    assert not isinstance(nothing["onnx"], Accelerated)
    assert "no CUDA provider" in cuda.lacking()
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in cuda.lacking()
    assert "no NVIDIA driver found" in cuda.lacking()
    assert "no TensorRT provider" in tensorrt.lacking()
    driver = tmp_path / "driver"
    driver.touch()
    assert "driver" not in OnnxCudaRuntime((str(driver),), tmp_path).lacking()
    (tmp_path / "libonnxruntime_providers_cuda.so").touch()
    assert OnnxCudaRuntime((str(driver),), tmp_path).lacking() == ""


def test_it_does_not_load_without(nothing, model):
    for name in ("onnx-cuda", "onnx-tensorrt"):
        with pytest.raises(MaasError, match="no NVIDIA driver found") as caught:
            nothing[name].load(model, Device())
        assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_what_is_missing_is_not_raced_and_not_to_be_asked_for(nothing):
    assert racers(nothing) == ("onnx", "openvino")
    check_engine("", "onnx", nothing)
    with pytest.raises(MaasError, match="'onnx-cuda' cannot serve here: this ONNX") as caught:
        check_engine("onnx-cuda", "onnx", nothing)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_a_provider_that_does_not_start_is_found_out(model, tmp_path):
    """The real ONNX Runtime, of which the provider is not: it leaves it out without a word."""
    for name in ("driver", "libonnxruntime_providers_cuda.so"):
        (tmp_path / name).touch()
    runtime = OnnxCudaRuntime((str(tmp_path / "driver"),), tmp_path)
    if "CUDAExecutionProvider" in open_session(model.file).get_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(MaasError, match="could not start its CUDA provider") as caught,
    ):
        runtime.load(model, Device())
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_the_processor_computes_as_before(model):
    servable = OnnxRuntime().load(model, Device())
    x = np.ones((2, 3), np.float32)
    assert (servable.infer("serving_default", {"x": x})["y"] == 2).all()
    servable.close()


def test_sizes_that_tensorrt_is_prepared_for():
    assert profile_of(signature()) == {
        "trt_profile_min_shapes": "x:1x3",
        "trt_profile_opt_shapes": "x:16x3",
        "trt_profile_max_shapes": "x:256x3",
    }
    assert profile_of(signature(TensorSpec("x", DType.FP32, (2, 3)), batched=False)) == {}
    for bad in (
        signature(TensorSpec("x", DType.FP32, (None, None))),
        signature(TensorSpec("x", DType.FP32, (None, 3)), batched=False),
        signature(TensorSpec("x", DType.BYTES, (None, 3))),
    ):
        with pytest.raises(MaasError, match="TensorRT cannot run the model") as caught:
            profile_of(bad)
        assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_memory_is_bounded_for_the_process_alone(model):
    assert OnnxCudaRuntime().estimate(model).memory_bytes > 1 << 30
