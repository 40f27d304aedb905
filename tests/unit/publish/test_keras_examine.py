"""Keras models as people save them: each ends lowered and proven, or served natively."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import onnxruntime
import pytest
from tests import tf_zoo

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType
from maas.publish.keras_examine import examine_keras
from maas.runtimes.onnx import OnnxRuntime
from maas.runtimes.plugins import runtime_for
from maas.runtimes.tensorfile import read_tensors

pytestmark = pytest.mark.xdist_group("tensorflow")
RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(9, 4)).astype(np.float32)
NEEDS_CODE = ("own layer", "noise", "in numpy", "subclass")


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    (folder / "own.py").write_text(tf_zoo.OWN)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Builds and saves a model once: its name and ending → the model and its file."""
    folder = tmp_path_factory.mktemp("models")
    own = tf_zoo.own_layers(folder)
    made = {}

    def get(name: str, ending: str = "keras"):
        if (name, ending) not in made:
            model = tf_zoo.build(name, own)
            path = folder / f"{name.replace(' ', '_')}.{ending}"
            made[name, ending] = model, tf_zoo.save(model, path)
        return made[name, ending]

    return get


@pytest.fixture
def examined(tmp_path, code):
    """Examines a file; the last job is `examined.job`."""

    def run(path: Path, **options):
        format_ = "keras-h5" if path.suffix == ".h5" else "keras"
        options.setdefault("trust", format_ == "keras-h5")
        run.job = tf_zoo.job_for(tmp_path / "job", path, format_, **options)
        return examine_keras(run.job, lambda *_: None)

    return run


def files(job) -> set[str]:
    return {p.name for p in Path(job.artifact).iterdir()}


def served(job, finding):
    """Loads the finding as a host would."""
    artifact = Artifact(job.artifact, finding.entry, finding.format, finding.signatures)
    return runtime_for(finding.engine).load(artifact, Device())


def test_h5(saved, examined):
    model, path = saved("mlp", "h5")
    finding = examined(path)
    assert (finding.engine, finding.format, finding.entry) == ("onnx", "onnx", "model.onnx")
    assert finding.lowered
    assert finding.reason.startswith("lowered to ONNX, equal on 256 rows")
    assert finding.parity.agrees
    assert finding.parity.samples == 256
    assert finding.parity.distinct_answers > 200
    assert finding.written_with["keras"].startswith("3.")
    assert {"keras", "tf2onnx"} <= finding.read_with.keys()
    assert [timing.engine for timing in finding.timings] == ["onnx", "keras"]
    assert files(examined.job) == {"model.onnx"}
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.batched
    assert [(s.name, s.dtype, s.shape) for s in signature.inputs] == [
        ("features", DType.FP32, (None, 4))
    ]
    assert [(s.name, s.dtype, s.shape) for s in signature.outputs] == [
        ("probabilities", DType.FP32, (None, 3))
    ]
    onnx = served(examined.job, finding)
    answers = onnx.infer(DEFAULT_SIGNATURE, {"features": ROWS})
    np.testing.assert_allclose(
        answers["probabilities"], tf_zoo.ask(model, ROWS), rtol=1e-5, atol=1e-6
    )


def test_samples_and_answers_are_left_for_the_race(saved, examined):
    model, path = saved("mlp", "h5")
    examined(path)
    work = Path(examined.job.work)
    samples = read_tensors(work / "samples.msgpack")[DEFAULT_SIGNATURE]
    answers = read_tensors(work / "answers.msgpack")[DEFAULT_SIGNATURE]
    (rows,), (got,) = samples.values(), answers.values()
    assert len(rows) == 256
    np.testing.assert_allclose(got, tf_zoo.ask(model, rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("cnn", {"images": (12, 12, 3)}, ["scores"]),
        ("lists", {"a": (4,), "b": (3,)}, ["d", "d_1"]),
        ("dictionaries", {"p": (3,), "q": (4,)}, ["u", "v"]),
        ("identity", {"x": (4,)}, ["x_1"]),
    ],
)
def test_names_are_keras_own(saved, examined, name, inputs, outputs):
    model, path = saved(name)
    finding = examined(path)
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert finding.lowered, finding.reason
    assert {s.name: s.shape[1:] for s in signature.inputs} == inputs
    assert sorted(s.name for s in signature.outputs) == outputs
    rows = {n: RNG.random((5, *shape)).astype(np.float32) for n, shape in inputs.items()}
    answers = served(examined.job, finding).infer(DEFAULT_SIGNATURE, rows)
    given = rows if name == "dictionaries" else list(rows.values())
    want = tf_zoo.ask(model, given if len(rows) > 1 else given[0])
    if isinstance(want, list):
        want = dict(zip(outputs, want, strict=True))
    for output in outputs:
        expected = want[output] if isinstance(want, dict) else want
        np.testing.assert_allclose(answers[output], expected, rtol=1e-4, atol=1e-5)


def test_text_of_any_length_through_an_embedding(saved, examined):
    model, path = saved("lstm", "h5")
    finding = examined(path)
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert finding.lowered, finding.reason
    assert signature.inputs[0].shape == (None, None)
    assert finding.parity.samples > 256  # another length besides
    servable = served(examined.job, finding)
    for length in (1, 7, 40):
        rows = RNG.integers(0, 50, (3, length)).astype(np.float32)
        answers = servable.infer(DEFAULT_SIGNATURE, {signature.inputs[0].name: rows})
        (got,) = answers.values()
        np.testing.assert_allclose(got, tf_zoo.ask(model, rows), rtol=1e-4, atol=1e-5)
    drawn = read_tensors(Path(examined.job.work) / "samples.msgpack")[DEFAULT_SIGNATURE]
    (tokens,) = drawn.values()
    assert tokens.max() >= 40, "indices should cover the whole embedding"
    assert tokens.max() < 50


def test_rows_are_drawn_around_an_adapted_scaler(saved, examined):
    _, path = saved("normalised")
    finding = examined(path)
    assert finding.lowered, finding.reason
    (rows,) = read_tensors(Path(examined.job.work) / "samples.msgpack")[DEFAULT_SIGNATURE].values()
    assert 4900 < rows.mean() < 5100


def test_chinese_text_is_served_by_keras(saved, examined):
    model, path = saved("text")
    finding = examined(path)
    assert (finding.engine, finding.format, finding.entry) == ("keras", "keras", "model.keras")
    assert not finding.lowered
    assert finding.reason.startswith("served by Keras itself, since ONNX has no counterpart")
    assert files(examined.job) == {"model.keras"}
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.inputs[0].dtype is DType.BYTES
    assert signature.batched
    texts = np.array([t.encode() for t in tf_zoo.TEXTS], dtype=object)
    servable = served(examined.job, finding)
    (got,) = servable.infer(DEFAULT_SIGNATURE, {signature.inputs[0].name: texts}).values()
    import tensorflow as tf

    np.testing.assert_allclose(got, tf_zoo.ask(model, tf.constant(list(tf_zoo.TEXTS))), rtol=1e-5)
    assert len(np.unique(got, axis=0)) > 1


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_lambdas_need_trust_and_are_lowered_then(saved, examined, tmp_path, ending):
    model, path = saved("lambda", ending)
    with pytest.raises(MaasError, match="publish it with --trust"):
        examined(path, trust=False)
    job = tf_zoo.job_for(
        tmp_path / "t", path, "keras" if ending == "keras" else "keras-h5", trust=True
    )
    finding = examine_keras(job, lambda *_: None)
    assert finding.lowered, finding.reason
    assert files(job) == {"model.onnx"}, "the code must not travel where it is not needed"
    (got,) = (
        served(job, finding)
        .infer(DEFAULT_SIGNATURE, {finding.signatures[DEFAULT_SIGNATURE].inputs[0].name: ROWS})
        .values()
    )
    np.testing.assert_allclose(got, tf_zoo.ask(model, ROWS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["own layer", "subclass"])
def test_own_classes_come_from_code(saved, examined, code, name):
    model, path = saved(name)
    finding = examined(path, trust=True, code=str(code))
    assert finding.lowered, finding.reason
    assert files(examined.job) == {"model.onnx"}
    signature = finding.signatures[DEFAULT_SIGNATURE]
    if name == "subclass":
        assert [s.name for s in signature.inputs] == ["features"]
        assert [s.name for s in signature.outputs] == ["scores"]
    (got,) = (
        served(examined.job, finding)
        .infer(DEFAULT_SIGNATURE, {signature.inputs[0].name: ROWS})
        .values()
    )
    want = tf_zoo.ask(model, ROWS)
    np.testing.assert_allclose(
        got, want["scores"] if isinstance(want, dict) else want, rtol=1e-4, atol=1e-5
    )


def test_without_trust_own_classes_are_named(saved, examined):
    with pytest.raises(MaasError, match=r"'Twice', which Keras does not have.*--trust and --code"):
        examined(saved("own layer")[1])


def test_a_missing_class_is_named_with_its_cure(saved, examined):
    with pytest.raises(MaasError, match=r"needs 'Twice'.*add --code with the file") as caught:
        examined(saved("own layer", "h5")[1])
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_to_be_found", r"needs module 'nowhere_to_be_found'"),
        ("raise RuntimeError('no licence')", r"'mine' .*cannot be imported: no licence"),
    ],
)
def test_code_that_fails(saved, examined, tmp_path, text, message):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text(text)
    with pytest.raises(MaasError, match=message):
        examined(saved("own layer")[1], trust=True, code=str(tmp_path / "code"))


def test_what_cannot_be_traced_is_served_by_keras_with_its_code(saved, examined, code):
    model, path = saved("in numpy")
    finding = examined(path, trust=True, code=str(code))
    assert finding.engine == "keras"
    assert "cannot be traced as a graph" in finding.reason
    assert files(examined.job) == {"trusted.keras", "code"}
    signature = finding.signatures[DEFAULT_SIGNATURE]
    (got,) = (
        served(examined.job, finding)
        .infer(DEFAULT_SIGNATURE, {signature.inputs[0].name: ROWS})
        .values()
    )
    np.testing.assert_allclose(got, tf_zoo.ask(model, ROWS), rtol=1e-5)


def test_random_answers_are_never_lowered(saved, examined, code):
    finding = examined(saved("noise")[1], trust=True, code=str(code))
    assert finding.engine == "keras"
    assert "differ from one run to the next" in finding.reason
    assert any("not deterministic" in warning for warning in finding.warnings)
    assert not finding.signatures[DEFAULT_SIGNATURE].batched


def test_a_fixed_batch_is_no_batch_axis(saved, examined):
    finding = examined(saved("fixed")[1])
    assert finding.lowered
    assert not finding.signatures[DEFAULT_SIGNATURE].batched
    assert "fixed at 2" in finding.batch_note
    assert finding.parity.samples >= 256


def test_keras_can_be_asked_for(saved, examined):
    finding = examined(saved("mlp")[1], engine="keras")
    assert finding.engine == "keras"
    assert "--engine keras" in finding.reason
    assert files(examined.job) == {"model.keras"}


def test_an_engine_that_cannot_says_why(saved, examined):
    with pytest.raises(MaasError, match=r"--engine onnx cannot serve this model: ONNX has no"):
        examined(saved("text")[1], engine="onnx")


def test_given_rows_are_used(saved, examined, tmp_path):
    rows = RNG.normal(size=(40, 4)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    finding = examined(saved("mlp")[1], sample=str(tmp_path / "rows.npy"), sample_name="rows.npy")
    assert finding.parity.source == "given"
    assert finding.parity.samples == 40


def test_rows_of_another_shape_are_refused(saved, examined, tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((4, 5), np.float32))
    with pytest.raises(MaasError, match="does not hold rows for this model"):
        examined(saved("mlp")[1], sample=str(tmp_path / "rows.npy"), sample_name="rows.npy")


def test_equal_answers_prove_nothing(saved, examined, tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((8, 4), np.float32))
    finding = examined(saved("mlp")[1], sample=str(tmp_path / "rows.npy"), sample_name="rows.npy")
    assert finding.engine == "keras"
    assert "all 8 samples gave one answer" in finding.reason


DENSE = {
    "class_name": "Dense",
    "config": {
        "name": "dense",
        "trainable": True,
        "dtype": "float32",
        "batch_input_shape": [None, 4],
        "units": 3,
        "activation": "softmax",
        "use_bias": True,
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "bias_initializer": {"class_name": "Zeros", "config": {}},
    },
}


def test_keras_2_that_keras_3_reads(examined, tmp_path):
    kernel, bias = RNG.normal(size=(4, 3)).astype("f4"), np.array([1, 2, 3], "f4")
    weights = {"dense": {"kernel": kernel, "bias": bias}}
    layer = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "name": "x"}}
    finding = examined(tf_zoo.keras_2(tmp_path / "m.h5", layer, DENSE, weights=weights))
    assert finding.lowered, finding.reason
    assert finding.written_with == {"keras": "2.15.0", "backend": "tensorflow"}
    assert any("written with Keras 2.15.0" in warning for warning in finding.warnings)
    signature = finding.signatures[DEFAULT_SIGNATURE]
    (got,) = (
        served(examined.job, finding)
        .infer(DEFAULT_SIGNATURE, {signature.inputs[0].name: ROWS})
        .values()
    )
    scores = np.exp(ROWS @ kernel + bias)
    np.testing.assert_allclose(got, scores / scores.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "TFOpLambda"])
def test_keras_2_that_keras_3_cannot_read_names_the_cure(examined, tmp_path, kind):
    layer = {
        "class_name": kind,
        "config": {"name": "l", "batch_input_shape": [None, 5, 4], "units": 3, "time_major": False},
    }
    with pytest.raises(
        MaasError, match=r"saved by Keras 2\.15\.0.*tf\.saved_model\.save"
    ) as caught:
        examined(tf_zoo.keras_2(tmp_path / "m.h5", layer))
    assert "\n" not in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_weights_alone_are_no_model(examined, tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("dense/kernel", data=np.zeros((2, 2)))
    with pytest.raises(MaasError, match="holds weights without a model"):
        examined(tmp_path / "w.h5")


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_that_is_cut_off(saved, examined, tmp_path, ending, share):
    data = saved("mlp", ending)[1].read_bytes()
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MaasError) as caught:
        examined(path)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert str(tmp_path) not in caught.value.message


def test_a_shape_that_its_weights_do_not_fit(saved, examined, tmp_path):
    import json
    import zipfile

    _, path = saved("mlp")
    config = json.loads(zipfile.ZipFile(path).read("config.json"))
    config["config"]["layers"][1]["config"]["units"] = 7
    bad = tf_zoo.rewrite(path, tmp_path / "bad.keras", config=json.dumps(config).encode())
    with pytest.raises(MaasError, match="Keras cannot load the model"):
        examined(bad)


def test_the_lowered_form_needs_no_framework(saved, examined):
    examined(saved("mlp")[1])
    session = onnxruntime.InferenceSession(Path(examined.job.artifact) / "model.onnx")
    assert isinstance(OnnxRuntime().name, str)
    assert session.run(None, {session.get_inputs()[0].name: ROWS})[0].shape == (9, 3)
