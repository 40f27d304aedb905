from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.plugins import load_runtimes, runtime_for


def test_by_name():
    assert runtime_for("onnx").platform == "onnxruntime_onnx"
    assert runtime_for("sklearn").host == "dedicated"
    assert {name: runtime.name for name, runtime in load_runtimes().items()} == {
        name: name
        for name in ("keras", "onnx", "openvino", "pickle", "python", "sklearn", "tensorflow")
    }


def test_one_that_is_not_there():
    with pytest.raises(MaasError) as caught:
        runtime_for("caffe")
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "keras, onnx, openvino, pickle" in caught.value.message
