"""The whole way, through the child and the real registry; staging is empty afterwards, always."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.tree import DecisionTreeClassifier
from tests import nets

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Device
from maas.core.records import PublishOptions
from maas.core.signature import DEFAULT_SIGNATURE
from maas.publish import examination
from maas.runtimes.plugins import runtime_for
from maas.settings import PublishSettings

X, Y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def iris() -> bytes:
    return skops.io.dumps(LogisticRegression(max_iter=500).fit(X, Y))


def refused(published, *args, kind=ErrorKind.INVALID_ARGUMENT, **kwargs) -> str:
    with pytest.raises(MaasError) as caught:
        published(*args, **kwargs)
    assert caught.value.kind is kind
    assert "/" not in caught.value.message.replace("inputs/outputs", "")
    return caught.value.message


def test_a_skops_file_becomes_a_version(published, registry, iris):
    options = PublishOptions(accuracy=0.97, description="three irises")
    record, created = published(iris, "iris.skops", "iris", options)
    assert created
    assert (record.name, record.version, record.accuracy) == ("iris", 1, 0.97)
    report = record.report
    assert (report.format, report.engine, report.host) == ("skops", "onnx", "shared")
    assert report.platform == "onnxruntime_onnx"
    assert report.lowered
    assert report.parity.agrees
    assert report.size_bytes > 0
    assert report.memory_bytes > report.size_bytes
    stages = [stage for stage, _, _ in published.heard]
    first, second = ["scan", "inspect", "lower", "prove", "time"], ["time"]
    assert stages == ["detect", *first, *second, "commit"]
    fractions = [fraction for _, _, fraction in published.heard]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[-1] < 1
    artifact = registry.artifact("iris", 1)
    servable = runtime_for(report.engine).load(artifact, Device())
    answer = servable.infer(DEFAULT_SIGNATURE, {"x": X.astype(np.float32)})
    expected = LogisticRegression(max_iter=500).fit(X, Y).predict(X)
    np.testing.assert_array_equal(answer["label"], expected)
    original = Path(artifact.path).parent / "original" / "iris.skops"
    assert original.read_bytes() == iris


def test_the_same_again_is_the_same_version(published, iris):
    first, _ = published(iris, "iris.skops")
    again, created = published(iris, "other-name.skops")
    assert not created
    assert again.version == first.version
    other, created = published(iris, "iris.skops", options=PublishOptions(tags={"team": "a"}))
    assert created
    assert other.version == 2


def test_an_onnx_folder(published, registry, linear, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "net.onnx").write_bytes(linear("w.bin").SerializeToString())
    (folder / "w.bin").write_bytes(linear.data)
    record, _ = published(folder, "folder")
    artifact = registry.artifact("m", 1)
    assert artifact.entry == "net.onnx"
    assert record.report.size_bytes > len(linear.data)
    runtime_for("onnx").load(artifact, Device()).close()


def test_a_sample_is_used_and_not_kept(published, registry, iris, tmp_path):
    sample = tmp_path / "rows.csv"
    sample.write_text("a,b,c,d\n" + "\n".join(",".join(map(str, row)) for row in X))
    record, _ = published(iris, "iris.skops", sample=sample)
    assert (record.report.parity.source, record.report.parity.samples) == ("given", 150)
    kept = Path(registry.artifact("m", 1).path).parent
    assert sorted(p.name for p in kept.iterdir()) == ["artifact", "original"]


@pytest.mark.parametrize("name", ["../up", "api", "", "a/b", "x" * 200, "a\x00b"])
def test_names(published, iris, name):
    with pytest.raises(MaasError) as caught:
        published(iris, "iris.skops", name)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert published.heard == []


@pytest.mark.parametrize(
    "options",
    [
        PublishOptions(accuracy=1.5),
        PublishOptions(description="x" * 10_001),
        PublishOptions(metrics={"rmse": float("nan")}),
        PublishOptions(alias=("../prod",)),
    ],
)
def test_options(published, iris, options):
    with pytest.raises(MaasError) as caught:
        published(iris, "iris.skops", options=options)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert published.heard == []


@pytest.mark.parametrize("name", ["m.skops", "m.onnx", "m.keras", "m.pkl", "m.joblib"])
def test_pickles_in_disguise(published, canary, name):
    assert "is a pickle" in refused(published, pickle.dumps(canary), name)


def test_a_pickle_inside_a_skops_file(published, iris, canary, tmp_path):
    file = tmp_path / "m.skops"
    file.write_bytes(iris)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("1.bin", pickle.dumps(canary))
    assert "is a pickle" in refused(published, file, "m.skops")


def test_unknown_types_are_named(published):
    file = json.dumps(
        {
            "__class__": "Popen",
            "__module__": "subprocess",
            "__loader__": "ObjectNode",
            "protocol": 2,
            "_skops_version": "0.16.0",
        }
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", file)
    assert "subprocess.Popen" in refused(published, buffer.getvalue(), "m.skops")


def test_a_crafted_tree_is_refused(published):
    model = DecisionTreeClassifier().fit(X, Y)
    state = model.tree_.__getstate__()
    nodes = state["nodes"].copy()
    nodes["left_child"][0] = 10**9
    model.tree_.__setstate__({**state, "nodes": nodes})
    assert "node leads nowhere" in refused(published, skops.io.dumps(model), "m.skops")


def test_external_data_outside_the_folder(published, linear, tmp_path):
    (tmp_path / "secret.bin").write_bytes(linear.data)

    def folder(location: str) -> Path:
        made = tmp_path / "folder"
        made.mkdir()
        (made / "m.onnx").write_bytes(linear(location).SerializeToString())
        return made

    assert "leaves the folder" in refused(published, folder("../secret.bin"), "folder")
    made = folder("link.bin")
    (made / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "link or a device" in refused(published, made, "folder")
    made = folder("hard.bin")
    os.link(tmp_path / "secret.bin", made / "hard.bin")
    assert "hard link" in refused(published, made, "folder")
    assert "publish the folder" in refused(published, linear("w.bin").SerializeToString(), "m.onnx")
    assert (tmp_path / "secret.bin").read_bytes() == linear.data


def test_bounds(published, iris):
    settings = PublishSettings(inspect_s=0.05)
    kind = ErrorKind.DEADLINE_EXCEEDED
    assert "longer than" in refused(published, iris, "m.skops", settings=settings, kind=kind)
    settings = PublishSettings(inspect_bytes=10 << 20)
    kind = ErrorKind.RESOURCE_EXHAUSTED
    assert "more than 10 MiB" in refused(published, iris, "m.skops", settings=settings, kind=kind)


def test_truncated_files(published, iris, linear):
    for length in (0, 3, 100, len(iris) // 2, len(iris) - 5):
        assert refused(published, iris[:length], "m.skops")
    data = linear().SerializeToString()
    for length in (0, 1, 5, len(data) // 2, len(data) - 1):
        assert refused(published, data[:length], "m.onnx")


def test_nothing_refused_leaves_a_version(published, registry, canary):
    refused(published, pickle.dumps(canary), "m.skops")
    assert registry.models().models == ()


def test_the_parent_imports_no_framework():
    code = (
        "import sys; import maas.publish.pipeline;"
        "print([m for m in ('onnxruntime', 'openvino', 'onnx', 'sklearn', 'skops', 'skl2onnx')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_both_engines_are_in_the_report(published, registry):
    record, _ = published(nets.residual().SerializeToString(), "net.onnx")
    report = record.report
    assert {timing.engine for timing in report.timings} == {"onnx", "openvino"}
    assert report.timings[0].engine == report.engine
    assert all(timing.agrees for timing in report.timings)
    assert {"onnxruntime", "openvino"} <= set(report.read_with)
    assert (report.host, report.confined, report.trusted) == ("shared", False, False)
    assert report.sandbox


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_engine_is_asked_for(published, registry, engine):
    options = PublishOptions(engine=engine)
    record, _ = published(nets.perceptron().SerializeToString(), "net.onnx", options=options)
    assert record.report.engine == engine
    assert record.report.reason.endswith(f"; {engine} was asked for")
    servable = runtime_for(engine).load(registry.artifact("m", 1), Device())
    rows = np.ones((3, 4), np.float32)
    assert servable.infer(DEFAULT_SIGNATURE, {"x": rows})["y"].shape == (3, 3)
    servable.close()


def test_the_published_form_is_asked_for(published, iris):
    record, _ = published(iris, "iris.skops", options=PublishOptions(engine="sklearn"))
    assert (record.report.engine, record.report.lowered) == ("sklearn", False)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("tensorrt", "possible are sklearn, onnx, openvino"),
        ("keras", "possible are sklearn, onnx, openvino"),
        ("openvino", "OpenVINO cannot run the model"),
    ],
)
def test_an_engine_that_cannot(published, iris, engine, said):
    options = PublishOptions(engine=engine)
    assert said in refused(published, iris, "iris.skops", options=options)


def test_an_onnx_engine_for_what_is_not_lowered(published):
    file = skops.io.dumps(NearestCentroid().fit(X, Y))
    said = refused(published, file, "m.skops", options=PublishOptions(engine="onnx"))
    assert "engine 'onnx' cannot serve this model: served by scikit-learn itself" in said


CRASHES = """
import os, sys, msgspec
from maas.publish import race_child
from maas.publish.messages import RaceJob
body = sys.stdin.buffer.read()
if "openvino" in msgspec.msgpack.decode(body, type=RaceJob).engines:
    os.abort()
sys.stdin = open(os.memfd_create("job"), "w+")
sys.stdin.buffer.write(body)
sys.stdin.seek(0)
race_child.main()
"""


def test_an_engine_that_crashes_is_left_out(published, monkeypatch):
    monkeypatch.setattr(examination, "RACE", ("-c", CRASHES))
    data = nets.perceptron().SerializeToString()
    report = published(data, "net.onnx")[0].report
    assert (report.engine, [timing.engine for timing in report.timings]) == ("onnx", ["onnx"])
    (warning,) = report.warnings
    assert warning.startswith("openvino was not compared")
    assert "SIGABRT" in warning
    options = PublishOptions(engine="openvino")
    assert "SIGABRT" in refused(published, data, "net.onnx", options=options)
