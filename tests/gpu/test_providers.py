"""ONNX Runtime's CUDA and TensorRT providers, where there is a GPU: `pytest tests/gpu`.

Everywhere else each test is skipped, and says what is missing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from maas.core.ports import Artifact, Device
from maas.core.records import PublishOptions, VersionRecord
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish.pipeline import publish
from maas.publish.uploads import Upload
from maas.registry.catalog import Registry
from maas.runtimes.onnx import OnnxRuntime
from maas.runtimes.onnx_gpu import OnnxCudaRuntime, OnnxTensorRTRuntime
from maas.runtimes.plugins import load_runtimes
from maas.settings import PublishSettings
from maas.testing.runtime import check_runtime

RUNTIMES = {"onnx-cuda": OnnxCudaRuntime(), "onnx-tensorrt": OnnxTensorRTRuntime()}
each = pytest.mark.parametrize("name", RUNTIMES)


@pytest.fixture(autouse=True)
def there(name: str) -> None:
    missing = RUNTIMES[name].lacking()
    if missing:
        pytest.skip(f"{name}: {missing}")


def network(width: int = 64) -> ModelProto:
    """Two convolutions over images [n, 3, 64, 64], and a layer of ten scores."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.standard_normal((width, 3, 3, 3)) / 5,
        "w2": random.standard_normal((width, width, 3, 3)) / 24,
        "w3": random.standard_normal((width, 10)) / 8,
    }
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    (tmp_path / "net.onnx").write_bytes(network().SerializeToString())
    signature = Signature(
        "serving_default",
        (TensorSpec("images", DType.FP32, (None, 3, 64, 64)),),
        (TensorSpec("scores", DType.FP32, (None, 10)),),
        True,
    )
    return Artifact(str(tmp_path), "net.onnx", "onnx", {signature.name: signature})


def images(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {"images": random.standard_normal((rows, 3, 64, 64)).astype(np.float32)}


@each
def test_it_keeps_the_contract(name: str, artifact: Artifact) -> None:
    check_runtime(RUNTIMES[name], artifact, images(4))


@each
def test_it_answers_what_the_processor_answers(name: str, artifact: Artifact) -> None:
    gpu = RUNTIMES[name].load(artifact, Device())
    processor = OnnxRuntime().load(artifact, Device())
    for rows in (1, 3, 16, 64):
        mine = gpu.infer("serving_default", images(rows))["scores"]
        theirs = processor.infer("serving_default", images(rows))["scores"]
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
    gpu.close()
    processor.close()


def published(tmp_path: Path, engine: str) -> VersionRecord:
    with Registry.open(tmp_path / "home", lambda: datetime.now(UTC)) as registry:
        staged = registry.stage()
        path = staged / "net.onnx"
        path.write_bytes(network().SerializeToString())
        version, _ = publish(
            registry,
            load_runtimes(),
            "net",
            Upload(path, "net.onnx", None, staged),
            PublishOptions(engine=engine),
            PublishSettings(),
            "tester",
            lambda *_: None,
        )
        return version


@each
def test_it_is_raced_in_the_sandbox(name: str, tmp_path: Path) -> None:
    """Where it is fastest it is chosen without being asked for."""
    report = published(tmp_path, "").report
    timing = next((timing for timing in report.timings if timing.engine == name), None)
    assert timing is not None, report.warnings
    assert timing.agrees, timing.note
    print([(one.engine, one.us_per_row_1, one.us_per_row_batch) for one in report.timings])


@each
def test_it_is_asked_for(name: str, tmp_path: Path) -> None:
    report = published(tmp_path, name).report
    assert report.engine == name
    assert report.host == "dedicated"
    assert any("is not measured" in warning for warning in report.warnings)
