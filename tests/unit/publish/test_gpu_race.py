"""A GPU that seems to be there and does not work: publishing goes on without it."""

from __future__ import annotations

import pytest
from tests import nets

from maas.core.errors import MaasError
from maas.core.records import PublishOptions
from maas.publish import examination
from maas.publish.pipeline import publish
from maas.publish.uploads import Upload
from maas.runtimes.onnx_gpu import OnnxCudaRuntime
from maas.runtimes.plugins import load_runtimes
from maas.settings import PublishSettings

CRASHES = """
import os, sys, msgspec
from maas.publish import race_child
from maas.publish.messages import RaceJob
body = sys.stdin.buffer.read()
if "onnx-cuda" in msgspec.msgpack.decode(body, type=RaceJob).engines:
    os.abort()
sys.stdin = open(os.memfd_create("job"), "w+")
sys.stdin.buffer.write(body)
sys.stdin.seek(0)
race_child.main()
"""


class Seeming(OnnxCudaRuntime):
    """Says that nothing is missing; in the child, the real one knows better."""

    def lacking(self) -> str:
        return ""


@pytest.fixture
def report_of(registry):
    def run(engine: str = ""):
        staged = registry.stage()
        path = staged / "net.onnx"
        path.write_bytes(nets.perceptron().SerializeToString())
        version, _ = publish(
            registry,
            {**load_runtimes(), "onnx-cuda": Seeming()},
            "m",
            Upload(path, path.name, None, staged),
            PublishOptions(engine=engine),
            PublishSettings(),
            "tester",
            lambda *_: None,
        )
        return version.report

    return run


def test_one_that_does_not_load_is_no_candidate(report_of):
    if not OnnxCudaRuntime().lacking():
        pytest.skip("there is a GPU here: tests/gpu")
    report = report_of()
    assert {timing.engine for timing in report.timings} == {"onnx", "openvino"}
    with pytest.raises(MaasError, match=r"'onnx-cuda' cannot serve this model: .*NVIDIA driver"):
        report_of("onnx-cuda")


def test_one_that_crashes_is_left_out_alone(report_of, monkeypatch):
    monkeypatch.setattr(examination, "RACE", ("-c", CRASHES))
    report = report_of()
    assert {timing.engine for timing in report.timings} == {"onnx", "openvino"}
    (warning,) = report.warnings
    assert warning.startswith("onnx-cuda was not compared")
    assert "SIGABRT" in warning
