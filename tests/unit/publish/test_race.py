"""Engines on real files, in this process; `test_pipeline` has the whole way."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests import nets

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish.messages import Finding, Raced, RaceJob
from maas.publish.race import race
from maas.runtimes.plugins import runtime_for
from maas.runtimes.tensorfile import ANSWERS, SAMPLES, read_tensors, write_tensors

X, Y = load_iris(return_X_y=True)


@pytest.fixture
def raced(tmp_path):
    """Races the engines on what `examined` has left."""

    def run(finding: Finding, format_="onnx", engine="", engines=("onnx", "openvino")) -> Raced:
        job = RaceJob(
            format=format_,
            finding=finding,
            artifact=str(tmp_path / "artifact"),
            work=str(tmp_path / "work"),
            engines=engines,
            engine=engine,
            threads=1,
            cpu_s=600,
            file_bytes=1 << 30,
        )
        return race(job, runtime_for, lambda *_: None)

    return run


@pytest.fixture
def iris(examined) -> Finding:
    return examined(LogisticRegression(max_iter=500).fit(X, Y))


def by_engine(outcome: Raced) -> dict:
    return {timing.engine: timing for timing in outcome.timings}


def refused(run, *args, **kwargs) -> str:
    with pytest.raises(MaasError) as caught:
        run(*args, **kwargs)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


def rewrite(folder: Path, name: str, change) -> None:
    tensors = read_tensors(folder / "work" / name)
    write_tensors(folder / "work" / name, change(tensors))


@pytest.mark.parametrize(
    "make",
    [nets.perceptron, nets.residual, lambda: nets.mobile(1, 16, 16)],
    ids=["dense", "residual", "mobile"],
)
def test_both_engines_are_compared_and_timed(examined, raced, make):
    finding = examined(make())
    outcome = raced(finding)
    timings = by_engine(outcome)
    assert set(timings) == {"onnx", "openvino"}
    for timing in timings.values():
        assert timing.agrees
        assert timing.batch == 64
        assert timing.us_per_row_1 > 0
        assert timing.us_per_row_batch > 0
    assert outcome.engine == outcome.timings[0].engine
    assert outcome.signatures == finding.signatures
    assert "32 rows run together equal" in outcome.batch_note
    assert {"onnxruntime", "openvino"} <= set(outcome.read_with)


def test_trees_and_linear_models_of_scikit_learn_stay_with_onnx_runtime(iris, raced):
    outcome = raced(iris, "skops")
    assert outcome.engine == "onnx"
    assert set(by_engine(outcome)) == {"onnx"}
    assert outcome.reason == iris.reason
    said = refused(raced, iris, "skops", engine="openvino")
    assert "engine 'openvino' cannot serve this model: OpenVINO cannot run the model" in said
    assert "ai.onnx.ml" in said


def differing(finding, raced) -> str:
    outcome = raced(finding)
    assert outcome.engine == "onnx"
    timing = by_engine(outcome)["openvino"]
    assert not timing.agrees
    assert timing.note in refused(raced, finding, engine="openvino")
    return timing.note


def test_a_relu_of_what_is_no_number(examined, raced, onnx_model):
    nodes = [helper.make_node("Sqrt", ["x"], ["root"]), helper.make_node("Relu", ["root"], ["y"])]
    assert "rows differ in 'y'" in differing(examined(onnx_model(nodes)), raced)


def test_an_index_that_onnx_runtime_refuses(examined, raced, onnx_model):
    table = helper.make_tensor("table", TensorProto.FLOAT, [4, 3], np.arange(12.0))
    model = onnx_model(
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        [onnx_model.tensor("i", ["n", 2], TensorProto.INT64)],
        [onnx_model.tensor("y", ["n", 2, 3])],
        weights=[table],
    )
    assert "in 'i', which ONNX Runtime refuses" in differing(examined(model), raced)


def test_a_division_by_zero(examined, raced, onnx_model, tmp_path):
    thousand = helper.make_tensor("c", TensorProto.INT32, [1], [1000])
    model = onnx_model(
        [helper.make_node("Div", ["c", "x"], ["y"])],
        [onnx_model.tensor("x", ["n", 4], TensorProto.INT32)],
        [onnx_model.tensor("y", ["n", 4], TensorProto.INT32)],
        weights=[thousand],
    )
    sample = tmp_path / "rows.npy"
    np.save(sample, np.random.default_rng(0).integers(1, 50, (40, 4)).astype(np.int32))
    note = differing(examined(model, sample), raced)
    assert note == "it answers 0 in 'x', which ONNX Runtime refuses"


def test_integers_whose_product_is_beyond_32_bits(examined, raced, onnx_model):
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Cast", ["square"], ["y"], to=TensorProto.FLOAT),
    ]
    model = onnx_model(nodes, [onnx_model.tensor("x", ["n", 4], TensorProto.INT64)])
    assert "with 1000003 in 'x'" in differing(examined(model), raced)


def test_a_loop_is_not_probed(examined, raced, onnx_model):
    """A value made up to probe could make it run for ever."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Mul", ["v", "v"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["times"], to=TensorProto.INT64),
        helper.make_node("Loop", ["times", "", "x"], ["y"], body=body),
    ]
    finding = examined(onnx_model(nodes))
    assert set(by_engine(raced(finding))) == {"onnx"}
    assert "has a loop" in refused(raced, finding, engine="openvino")


def test_a_random_model_is_compared_with_nothing(examined, raced, onnx_model):
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    finding = examined(onnx_model(nodes))
    assert raced(finding).engine == "onnx"
    assert "two runs on the same rows differ" in refused(raced, finding, engine="openvino")


def test_a_batch_that_the_first_stage_invented(examined, raced, onnx_model):
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    finding = examined(onnx_model(nodes, weights=[axes]))
    signature = finding.signatures[DEFAULT_SIGNATURE]
    lie = msgspec.structs.replace(signature, batched=True)
    outcome = raced(msgspec.structs.replace(finding, signatures={DEFAULT_SIGNATURE: lie}))
    assert not outcome.signatures[DEFAULT_SIGNATURE].batched
    assert "differ from rows run apart" in outcome.batch_note


def test_no_batch_axis(examined, raced, onnx_model):
    finding = examined(
        onnx_model(
            [helper.make_node("Relu", ["x"], ["y"])],
            [onnx_model.tensor("x", [1, 4])],
            [onnx_model.tensor("y", [1, 4])],
        )
    )
    outcome = raced(finding)
    assert outcome.batch_note == "the first axis of input 'x' is fixed at 1"
    assert all(timing.batch == 1 and timing.agrees for timing in outcome.timings)


def test_answers_of_another_model(iris, raced, tmp_path):
    def other(answers):
        outputs = answers[DEFAULT_SIGNATURE]
        return {DEFAULT_SIGNATURE: {**outputs, "probabilities": outputs["probabilities"][::-1]}}

    rewrite(tmp_path, ANSWERS, other)
    said = refused(raced, iris, "skops")
    assert "does not answer as it did when it was made" in said
    assert "rows differ in 'probabilities'" in said


def test_labels_that_hang_on_ties_are_let_through(iris, raced, tmp_path):
    def other(answers):
        outputs = answers[DEFAULT_SIGNATURE]
        return {DEFAULT_SIGNATURE: {**outputs, "label": (outputs["label"] + 1) % 3}}

    rewrite(tmp_path, ANSWERS, other)
    assert raced(iris, "skops").engine == "onnx"
    assert "its labels hang on ties" in refused(raced, iris, "skops", engine="openvino")


@pytest.mark.parametrize("name", [SAMPLES, ANSWERS])
@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", None], ids=["empty", "pickle", "gone"])
def test_files_that_the_first_stage_should_have_written(iris, raced, tmp_path, name, content):
    file = tmp_path / "work" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert "could not be read back" in refused(raced, iris, "skops")


def test_samples_of_other_inputs(iris, raced, tmp_path):
    rewrite(tmp_path, SAMPLES, lambda _: {"other": {"x": np.zeros((2, 4), np.float32)}})
    assert "other signatures" in refused(raced, iris, "skops")
    rewrite(tmp_path, SAMPLES, lambda _: {DEFAULT_SIGNATURE: {"z": np.zeros((2, 4), np.float32)}})
    assert "input 'x' is missing" in refused(raced, iris, "skops")


def test_a_signature_of_another_type(iris, raced):
    signature = iris.signatures[DEFAULT_SIGNATURE]
    label, scores = signature.outputs
    outputs = (msgspec.structs.replace(label, dtype=DType.FP64), scores)
    lie = msgspec.structs.replace(signature, outputs=outputs)
    said = refused(
        raced, msgspec.structs.replace(iris, signatures={DEFAULT_SIGNATURE: lie}), "skops"
    )
    assert "output 'label' comes out as int64" in said


def test_external_data_is_scanned_again(examined, raced, linear, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(linear("w.bin").SerializeToString())
    (folder / "w.bin").write_bytes(linear.data)
    finding = examined(folder)
    artifact = tmp_path / "artifact"
    (tmp_path / "secret.bin").write_bytes(linear.data)
    (artifact / "model.onnx").write_bytes(linear("../secret.bin").SerializeToString())
    assert "leaves the folder" in refused(raced, finding)
    (artifact / "model.onnx").write_bytes(linear("w.bin").SerializeToString())
    (artifact / "w.bin").unlink()
    (artifact / "w.bin").symlink_to(tmp_path / "secret.bin")
    assert "symbolic link" in refused(raced, finding)


def test_a_file_for_each_signature(raced, tmp_path):
    artifact, work = tmp_path / "artifact", tmp_path / "work"
    artifact.mkdir()
    work.mkdir()
    rows = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    signatures = {}
    for name, width in {"serving_default": 3, "wide": 5}.items():
        model = nets.perceptron((4, 8, width))
        (artifact / f"{name}.onnx").write_bytes(model.SerializeToString())
        inputs = (TensorSpec("x", DType.FP32, (None, 4)),)
        outputs = (TensorSpec("y", DType.FP32, (None, width)),)
        signatures[name] = Signature(name, inputs, outputs, batched=True)
    finding = Finding(
        engine="onnx",
        format="onnx",
        entry="serving_default.onnx",
        signatures=signatures,
        lowered=True,
        reason="lowered to ONNX",
        written_with={},
        read_with={},
        parity=None,
        batch_note="",
        timings=(),
        warnings=(),
    )
    samples = {name: {"x": rows} for name in signatures}
    servable = runtime_for("onnx").load(
        Artifact(str(artifact), finding.entry, "onnx", signatures), Device()
    )
    answers = {name: servable.infer(name, {"x": rows}) for name in signatures}
    write_tensors(work / SAMPLES, samples)
    write_tensors(work / ANSWERS, answers)
    outcome = raced(finding, "savedmodel", engine="openvino")
    assert (outcome.engine, outcome.signatures) == ("openvino", signatures)
    assert outcome.reason == "lowered to ONNX; openvino was asked for"
    shutil.copyfile(artifact / "serving_default.onnx", artifact / "wide.onnx")
    assert "publish" in refused(raced, finding, "savedmodel")


def test_only_onnx_runtime(iris, raced):
    assert set(by_engine(raced(iris, "skops", engines=("onnx",)))) == {"onnx"}
