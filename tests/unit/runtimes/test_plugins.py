from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.plugins import load_runtimes, runtime_for


def test_by_name():
    assert runtime_for("onnx").platform == "onnxruntime_onnx"
    assert runtime_for("sklearn").host == "dedicated"
    runtimes = load_runtimes()
    assert all(runtime.name == name for name, runtime in runtimes.items())
    assert runtimes.keys() >= {
        *("keras", "onnx", "onnx-cuda", "onnx-tensorrt", "openvino", "pickle", "python"),
        *("sklearn", "tensorflow", "upstream"),
    }


def test_one_that_is_not_there():
    with pytest.raises(MaasError) as caught:
        runtime_for("caffe")
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    names = "onnx, onnx-cuda, onnx-tensorrt, openvino, openvino-genai, pickle"
    assert names in caught.value.message
