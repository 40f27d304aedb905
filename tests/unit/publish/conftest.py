"""Small real models, and the two ways through the pipeline: in this process, and whole."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import skops.io
from onnx import TensorProto, helper

from maas.core.records import PublishOptions
from maas.publish.child import examine
from maas.publish.messages import Finding, Job
from maas.publish.pipeline import publish
from maas.publish.uploads import Upload
from maas.registry.catalog import Registry
from maas.runtimes.plugins import load_runtimes
from maas.settings import PublishSettings


class Canary:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def canary(tmp_path):
    """Something to pickle; fails the test if anybody has opened the pickle."""
    path = tmp_path / "canary"
    yield Canary(path)
    assert not path.exists(), "a pickle was opened"


@pytest.fixture
def examined(tmp_path) -> Callable[..., Finding]:
    """Examines an estimator, ONNX model or file in this process."""

    def run(model, sample: Path | None = None) -> Finding:
        source, artifact = tmp_path / "source.bin", tmp_path / "artifact"
        artifact.mkdir(exist_ok=True)
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        if isinstance(model, Path):
            source = model
            format_ = "onnx"
        elif hasattr(model, "SerializeToString"):
            source.write_bytes(model.SerializeToString())
            format_ = "onnx"
        else:
            skops.io.dump(model, source)
            format_ = "skops"
        job = Job(
            format=format_,
            source=str(source),
            entry="model.onnx" if source.is_dir() else "",
            sample=str(sample or ""),
            sample_name=sample.name if sample else "",
            code="",
            artifact=str(artifact),
            work=str(work),
            samples=256,
            threads=1,
            trust=False,
            engine="",
            cpu_s=600,
            file_bytes=1 << 30,
        )
        return examine(job, lambda *_: None)

    return run


@pytest.fixture
def job_for(tmp_path) -> Callable[..., Job]:
    """Makes the job of examining a file or folder of any format, in this process."""

    def make(source: Path, format_: str, **said) -> Job:
        for name in ("artifact", "work"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            (tmp_path / name).mkdir()
        sample = said.pop("sample", None)
        return Job(
            format=format_,
            source=str(source),
            entry=said.pop("entry", ""),
            sample=str(sample or ""),
            sample_name=sample.name if sample else "",
            code=str(said.pop("code", "")),
            artifact=str(tmp_path / "artifact"),
            work=str(tmp_path / "work"),
            samples=256,
            threads=1,
            trust=True,
            engine=said.pop("engine", ""),
            cpu_s=600,
            file_bytes=1 << 30,
        )

    return make


@pytest.fixture
def own_modules(monkeypatch):
    """Models change where modules are searched, and which are there, for a process's life."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    places = (sys.prefix, sys.base_prefix)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file and not file.startswith(places) and "maas" not in name:
            del sys.modules[name]


@pytest.fixture
def registry(tmp_path):
    with Registry.open(tmp_path / "home", lambda: datetime.now(UTC)) as opened:
        yield opened


@pytest.fixture
def published(registry, tmp_path):
    """Publishes bytes, a file or a folder the whole way; staging must be empty afterwards."""
    heard: list[tuple[str, str, float]] = []

    def run(what, filename, name="m", options=None, sample=None, settings=None):
        staged = registry.stage()
        path = staged / Path(filename).name
        if isinstance(what, Path):
            what.rename(path)
        else:
            path.write_bytes(what)
        if sample is not None:
            (staged / sample.name).write_bytes(sample.read_bytes())
            sample = staged / sample.name
        try:
            return publish(
                registry,
                load_runtimes(),
                name,
                Upload(path, filename, sample, staged),
                options or PublishOptions(),
                settings or PublishSettings(),
                "tester",
                lambda *event: heard.append(event),
            )
        finally:
            assert list((tmp_path / "home" / "staging").iterdir()) == []

    run.heard = heard
    return run


def tensor(name: str, shape: list, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.fixture
def onnx_model():
    """Makes an ONNX model of nodes; `x` float [n, 4] to `y` float [n, 4] unless told."""

    def make(nodes, inputs=None, outputs=None, weights=(), domains=()):
        graph = helper.make_graph(
            nodes,
            "g",
            inputs or [tensor("x", ["n", 4])],
            outputs or [tensor("y", ["n", 4])],
            list(weights),
        )
        opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(d, 1) for d in domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="tests")

    make.tensor = tensor
    return make


@pytest.fixture
def linear(onnx_model):
    """`y = x @ w`, 4 to 4; given a location, the weights lie in that external file."""

    def make(location: str | None = None, **place: str):
        values = np.arange(16, dtype=np.float32).reshape(4, 4)
        weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], values.tobytes(), raw=True)
        if location is not None:
            weights.ClearField("raw_data")
            weights.data_location = TensorProto.EXTERNAL
            for key, value in {"location": location, **place}.items():
                entry = weights.external_data.add()
                entry.key, entry.value = key, value
        return onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], weights=[weights])

    make.data = np.arange(16, dtype=np.float32).tobytes()
    return make
