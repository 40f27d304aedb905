"""SavedModels: their signatures, lowered and proven, or served by TensorFlow itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests import tf_zoo

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType
from maas.publish.savedmodel_examine import examine_savedmodel
from maas.runtimes.plugins import runtime_for
from maas.runtimes.tensorfile import read_tensors

pytestmark = pytest.mark.xdist_group("tensorflow")
ROWS = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves a model once: its name → the module and the folder."""
    made = {}

    def get(name: str):
        if name not in made:
            folder = tmp_path_factory.mktemp("saved") / "model"
            made[name] = tf_zoo.saved_model(name, folder), folder
        return made[name]

    return get


@pytest.fixture
def examined(tmp_path):
    """Examines a folder; the last job is `examined.job`."""

    def run(folder: Path, **options):
        shutil.rmtree(tmp_path / "job", ignore_errors=True)
        run.job = tf_zoo.job_for(tmp_path / "job", folder, "savedmodel", **options)
        return examine_savedmodel(run.job, lambda *_: None)

    return run


def files(job) -> set[str]:
    return {str(p.relative_to(job.artifact)) for p in Path(job.artifact).rglob("*") if p.is_file()}


def served(job, finding):
    artifact = Artifact(job.artifact, finding.entry, finding.format, finding.signatures)
    return runtime_for(finding.engine).load(artifact, Device())


def shapes(specs):
    return {spec.name: (spec.dtype, spec.shape) for spec in specs}


def test_one_signature(saved, examined):
    module, folder = saved("one")
    finding = examined(folder)
    assert (finding.engine, finding.format, finding.entry) == ("onnx", "onnx", "model.onnx")
    assert files(examined.job) == {"model.onnx"}
    assert finding.parity.samples >= 256
    assert finding.parity.agrees
    assert finding.written_with["tensorflow"].startswith("2.")
    assert [timing.engine for timing in finding.timings] == ["onnx", "tensorflow"]
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.batched
    assert shapes(signature.inputs) == {"x": (DType.FP32, (None, 4))}
    assert shapes(signature.outputs) == {
        "label": (DType.INT64, (None,)),
        "scores": (DType.FP32, (None, 3)),
    }
    got = served(examined.job, finding).infer(DEFAULT_SIGNATURE, {"x": ROWS})
    want = module.score(ROWS)
    np.testing.assert_allclose(got["scores"], want["scores"].numpy(), rtol=1e-5, atol=1e-6)
    assert (got["label"] == want["label"].numpy()).all()


def test_outputs_that_are_a_list(saved, examined):
    finding = examined(saved("list")[1])
    assert finding.lowered, finding.reason
    assert shapes(finding.signatures[DEFAULT_SIGNATURE].outputs) == {
        "output_0": (DType.FP32, (None, 3)),
        "output_1": (DType.FP32, (None,)),
    }


def test_a_signature_of_texts_keeps_the_model_with_tensorflow(saved, examined):
    module, folder = saved("two")
    finding = examined(folder)
    assert (finding.engine, finding.format, finding.entry) == (
        "tensorflow",
        "savedmodel",
        "saved_model.pb",
    )
    assert "LookupTableFindV2" in finding.reason
    assert {"saved_model.pb", "variables/variables.index"} <= files(examined.job)
    assert not any(name.endswith(".onnx") for name in files(examined.job))
    assert list(finding.signatures) == [DEFAULT_SIGNATURE, "look"]
    look = finding.signatures["look"]
    assert look.batched
    assert shapes(look.inputs) == {"text": (DType.BYTES, (None,))}
    assert shapes(look.outputs) == {
        "upper": (DType.BYTES, (None,)),
        "value": (DType.FP32, (None,)),
    }
    servable = served(examined.job, finding)
    texts = np.array(["服务".encode(), b"abc"], dtype=object)
    got = servable.infer("look", {"text": texts})
    assert got["value"].tolist() == [1.0, 0.0]
    assert got["upper"].tolist() == ["服务".encode(), b"ABC"]
    scores = servable.infer(DEFAULT_SIGNATURE, {"x": ROWS})["scores"]
    np.testing.assert_allclose(scores, module.score(ROWS)["scores"].numpy(), rtol=1e-5)


def test_each_signature_is_lowered_into_a_file_of_its_own(saved, examined):
    module, folder = saved("three")
    finding = examined(folder)
    assert finding.engine == "onnx"
    assert finding.entry == "serving_default.onnx"
    assert files(examined.job) == {"serving_default.onnx", "rows.onnx", "scale.onnx"}
    assert list(finding.signatures) == [DEFAULT_SIGNATURE, "rows", "scale"]
    assert [s.batched for s in finding.signatures.values()] == [True, True, False]
    assert "scale: input 'k' is a scalar" in finding.batch_note
    samples = read_tensors(Path(examined.job.work) / "samples.msgpack")
    assert samples.keys() == finding.signatures.keys()
    servable = served(examined.job, finding)
    got = servable.infer("scale", {"x": ROWS, "k": np.array(3, np.float32)})["y"]
    np.testing.assert_allclose(got, module.scale(ROWS, 3.0)["y"].numpy(), rtol=1e-4, atol=1e-5)
    got = servable.infer("rows", {"x": ROWS})["output_1"]
    np.testing.assert_allclose(got, ROWS.sum(1), rtol=1e-4, atol=1e-5)


def test_what_keras_exports_twice_is_the_same_file_twice(saved, examined):
    model, folder = saved("exported")
    finding = examined(folder)
    assert finding.lowered, finding.reason
    assert list(finding.signatures) == [DEFAULT_SIGNATURE, "serve"]
    artifact = Path(examined.job.artifact)
    first, second = artifact / "serving_default.onnx", artifact / "serve.onnx"
    assert first.read_bytes() == second.read_bytes()
    rows = np.random.default_rng(0).random((3, 12, 12, 3)).astype(np.float32)
    (got,) = served(examined.job, finding).infer("serve", {"images": rows}).values()
    np.testing.assert_allclose(got, tf_zoo.ask(model, rows), rtol=1e-4, atol=1e-5)


def test_without_a_default_signatures_keep_their_names(saved, examined):
    finding = examined(saved("other name")[1])
    (name,) = finding.signatures
    assert name != DEFAULT_SIGNATURE
    assert finding.signatures[name].name == name
    assert finding.entry == "model.onnx"
    assert served(examined.job, finding).infer(name, {"x": ROWS})["label"].shape == (9,)
    native = examined(saved("other name")[1], engine="tensorflow")
    assert native.engine == "tensorflow"
    assert "--engine tensorflow" in native.reason
    assert served(examined.job, native).infer(name, {"x": ROWS})["label"].shape == (9,)


def test_the_entry_says_where_the_folder_is(saved, examined, tmp_path):
    shutil.copytree(saved("one")[1], tmp_path / "base" / "1")
    finding = examined(tmp_path / "base", entry="1/saved_model.pb", engine="tensorflow")
    assert "saved_model.pb" in files(examined.job)
    assert finding.entry == "saved_model.pb"
    assert not any("base path" in warning for warning in finding.warnings)


def test_a_base_path_with_several_versions_says_which_is_taken(saved, examined, tmp_path):
    shutil.copytree(saved("one")[1], tmp_path / "base" / "12")
    (tmp_path / "base" / "3").mkdir()
    finding = examined(tmp_path / "base", entry="12/saved_model.pb", engine="tensorflow")
    assert finding.warnings[0].startswith("this is version 12 of the base path, the highest; 3 is")


def test_bfloat16_comes_out_as_float32(saved, examined):
    finding = examined(saved("half")[1])
    (output,) = finding.signatures[DEFAULT_SIGNATURE].outputs
    assert output.dtype is DType.FP32
    answers = served(examined.job, finding).infer(DEFAULT_SIGNATURE, {"x": ROWS})
    assert answers["y"].dtype == np.float32


def test_random_answers_are_never_lowered(saved, examined):
    finding = examined(saved("random")[1])
    assert finding.engine == "tensorflow"
    assert any("not deterministic" in warning for warning in finding.warnings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("complex", "of type complex64, which no protocol here carries"),
        ("none", "has no signatures; save it with"),
        ("parse", "no drawn sample was answered.*--sample"),
        ("python", "calls Python .EagerPyFunc.*without tf.py_function"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(saved, examined, name, message):
    with pytest.raises(MaasError, match=message) as caught:
        examined(saved(name)[1])
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "signatures", "warning"),
    [
        ("complex beside", [DEFAULT_SIGNATURE], "'waves' is not served"),
        ("slash", [DEFAULT_SIGNATURE], "'a/b' is not served: its name"),
        ("parse beside", [DEFAULT_SIGNATURE, "parse"], "'parse' answers no drawn sample"),
    ],
)
def test_a_signature_beside_that_cannot_be_is_named(saved, examined, name, signatures, warning):
    finding = examined(saved(name)[1])
    assert list(finding.signatures) == signatures
    assert any(warning in each for each in finding.warnings), finding.warnings
    assert finding.lowered == (len(signatures) == 1), finding.reason


@pytest.mark.parametrize(
    ("name", "operator"),
    [("read", "ReadFile"), ("prints", "PrintV2 to a file"), ("saves", "SaveV2")],
)
def test_operators_that_reach_files_need_trust(saved, examined, name, operator):
    with pytest.raises(MaasError, match=f"uses {operator}, which can .*--trust"):
        examined(saved(name)[1])


def test_with_trust_they_are_named(saved, examined, tmp_path):
    np.save(tmp_path / "p.npy", np.array(b"/proc/self/no-such-file"))
    with pytest.raises(MaasError, match="given sample"):
        examined(saved("read")[1], trust=True, sample=str(tmp_path / "p.npy"), sample_name="p.npy")


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo"])
def test_folders_hold_regular_files(saved, examined, tmp_path, kind):
    folder = shutil.copytree(saved("one")[1], tmp_path / "copy")
    place, outside = folder / "assets" / "x", tmp_path / "outside"
    place.parent.mkdir(exist_ok=True)
    outside.write_text("secret")
    if kind == "symlink":
        place.symlink_to(outside)
    elif kind == "hard link":
        os.link(outside, place)
    else:
        os.mkfifo(place)
    with pytest.raises(MaasError, match="link or device"):
        examined(folder)


@pytest.mark.parametrize("data", [b"", b"\x08", b"\xff" * 100, b"not a model"])
def test_a_damaged_graph(saved, examined, tmp_path, data):
    folder = shutil.copytree(saved("one")[1], tmp_path / "copy")
    (folder / "saved_model.pb").write_bytes(data)
    with pytest.raises(MaasError) as caught:
        examined(folder)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["variables/variables.index", "saved_model.pb"])
def test_a_missing_file(saved, examined, tmp_path, name):
    folder = shutil.copytree(saved("one")[1], tmp_path / "copy")
    (folder / name).unlink()
    with pytest.raises(MaasError) as caught:
        examined(folder)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert str(tmp_path) not in caught.value.message


def test_an_operator_that_is_not_tensorflows(saved, examined, tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2

    folder = shutil.copytree(saved("one")[1], tmp_path / "copy")
    message = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for function in message.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "Softmax":
                node.op = "SoftestMax"
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(MaasError, match="the operator 'SoftestMax', which TensorFlow"):
        examined(folder)
