"""Keras and TensorFlow as runtimes: the contract, the sandboxless parts, what is said when not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests import tf_zoo

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.keras import KerasRuntime
from maas.runtimes.keras_model import function_of, load_model
from maas.runtimes.plugins import load_runtimes
from maas.runtimes.tensorflow import TensorFlowRuntime
from maas.runtimes.tf_process import open_keras, open_tensorflow
from maas.testing.runtime import check_batch, check_description, check_outputs, check_runtime

pytestmark = pytest.mark.xdist_group("tensorflow")
ROWS = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
TEXTS = np.array([text.encode() for text in tf_zoo.TEXTS], dtype=object)


def signature(inputs, outputs, batched=True) -> dict[str, Signature]:
    return {DEFAULT_SIGNATURE: Signature(DEFAULT_SIGNATURE, tuple(inputs), tuple(outputs), batched)}


def keras_artifact(folder: Path, name: str, own=None) -> Artifact:
    tf_zoo.save(tf_zoo.build(name, own), folder / "model.keras")
    function = function_of(load_model(folder / "model.keras", None))
    return Artifact(
        str(folder), "model.keras", "keras", signature(function.inputs, function.outputs)
    )


def test_they_are_found_through_entry_points():
    runtimes = load_runtimes()
    assert isinstance(runtimes["keras"], KerasRuntime)
    assert isinstance(runtimes["tensorflow"], TensorFlowRuntime)
    for name in ("keras", "tensorflow"):
        assert runtimes[name].confined, "what can carry code serves in the sandbox"
        assert runtimes[name].host == "dedicated"


def test_keras_keeps_the_contract_for_numbers(tmp_path):
    check_runtime(KerasRuntime(), keras_artifact(tmp_path, "mlp"), {"features": ROWS})


def test_keras_keeps_the_contract_for_texts(tmp_path):
    artifact = keras_artifact(tmp_path, "text")
    name = artifact.signatures[DEFAULT_SIGNATURE].inputs[0].name
    check_description(KerasRuntime(), artifact)
    servable = KerasRuntime().load(artifact, Device())
    answers = servable.infer(DEFAULT_SIGNATURE, {name: TEXTS})
    check_outputs(artifact.signatures[DEFAULT_SIGNATURE], answers, len(TEXTS))
    check_batch(servable, {name: TEXTS}, answers, len(TEXTS))
    # TensorFlow's strings are bytes: encoded images travel in them, so any bytes are taken.
    odd = np.array([b"\xff\xfe"], dtype=object)
    assert servable.infer(DEFAULT_SIGNATURE, {name: odd})


def test_keras_keeps_the_contract_for_dictionaries(tmp_path):
    rows = {"p": ROWS[:, :3], "q": ROWS}
    check_runtime(KerasRuntime(), keras_artifact(tmp_path, "dictionaries"), rows)


def test_tensorflow_keeps_the_contract(tmp_path):
    tf_zoo.saved_model("two", tmp_path / "m")
    signatures = signature(
        [TensorSpec("x", DType.FP32, (None, 4))],
        [TensorSpec("label", DType.INT64, (None,)), TensorSpec("scores", DType.FP32, (None, 3))],
    )
    artifact = Artifact(str(tmp_path / "m"), "saved_model.pb", "savedmodel", signatures)
    check_runtime(TensorFlowRuntime(), artifact, {"x": ROWS})


def test_a_signature_that_the_folder_lacks(tmp_path):
    tf_zoo.saved_model("one", tmp_path / "m")
    spec = TensorSpec("x", DType.FP32, (None, 4))
    artifact = Artifact(
        str(tmp_path / "m"),
        "saved_model.pb",
        "savedmodel",
        {"other": Signature("other", (spec,), (spec,), batched=True)},
    )
    with pytest.raises(MaasError, match="no signature 'other'") as caught:
        TensorFlowRuntime().load(artifact, Device())
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_an_index_beyond_the_embedding_is_the_callers_error(tmp_path):
    artifact = keras_artifact(tmp_path, "lstm")
    servable = KerasRuntime().load(artifact, Device())
    name = artifact.signatures[DEFAULT_SIGNATURE].inputs[0].name
    with pytest.raises(MaasError, match="refused these values") as caught:
        servable.infer(DEFAULT_SIGNATURE, {name: np.full((1, 3), 9999, np.float32)})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "node" not in caught.value.message
    assert "\n" not in caught.value.message
    servable.close()


def test_lambdas_do_not_open_without_trust(tmp_path):
    # The entry's name says whether it was published with --trust; this one was not.
    tf_zoo.save(tf_zoo.build("lambda"), tmp_path / "model.keras")
    artifact = Artifact(str(tmp_path), "model.keras", "keras", signature([], []))
    with pytest.raises(MaasError) as caught:
        KerasRuntime().load(artifact, Device())
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    trusted = tmp_path / "trusted.keras"
    (tmp_path / "model.keras").rename(trusted)
    assert load_model(trusted, None).layers[0].name == "twice"


@pytest.mark.parametrize(
    ("module", "opened", "what"),
    [("tensorflow", open_tensorflow, "TensorFlow"), ("keras", open_keras, "Keras")],
)
def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch, module, opened, what):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MaasError, match=f"{what} is not installed here; install it with") as caught:
        opened()
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "maas-server[tensorflow]" in caught.value.message


ALONE = """
import os, sys
from maas.core.ports import Artifact, Device
from maas.runtimes.plugins import load_runtimes
runtimes = load_runtimes()
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
assert "h5py" not in sys.modules
import re
artifact = Artifact(sys.argv[1], "model.keras", "keras", {})
servable = runtimes["keras"].load(artifact, Device(threads=2))
import tensorflow as tf
assert not tf.config.get_visible_devices("GPU")
assert os.environ["TF_NUM_INTRAOP_THREADS"] == "2"
# getrusage's figure would be that of whoever started this process, where it was larger.
used = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
assert used < runtimes["keras"].estimate(artifact).memory_bytes, used
print("done")
"""


def test_in_a_process_of_its_own(tmp_path):
    """Nothing is imported before it is loaded, TensorFlow is quiet, the estimate is a bound."""
    tf_zoo.save(tf_zoo.build("mlp"), tmp_path / "model.keras")
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "done\n", done.stderr
    assert done.stderr == ""
