"""SavedModels whose signatures are for Classify and Regress, from the folder to the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import tf_zoo

from maas.core.identity import ServableId
from maas.core.messages import InferReply, ModelView
from maas.core.ports import Artifact, Device
from maas.dialects.tfserving.encode import encode_classes, encode_values
from maas.dialects.tfserving.examplejson import decode_examples
from maas.publish.savedmodel_examine import examine_savedmodel
from maas.runtimes.plugins import runtime_for

pytestmark = pytest.mark.xdist_group("tensorflow")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A model as TensorFlow 1 saved them, examined: its artifact folder and the finding."""
    base = tmp_path_factory.mktemp("methods")
    job = tf_zoo.job_for(base / "job", tf_zoo.with_methods(base / "model"), "savedmodel")
    return Path(job.artifact), examine_savedmodel(job, lambda *_: None)


def test_the_file_says_what_a_signature_is_for(published):
    _, finding = published
    methods = {name: signature.method for name, signature in finding.signatures.items()}
    assert methods == {
        "serving_default": "predict",
        "classification": "classify",
        "regression": "regress",
        "odd": "predict",  # it says classify and takes numbers
    }
    assert finding.engine == "tensorflow"


def test_examples_are_drawn_so_that_its_batch_axis_is_proven(published):
    _, finding = published
    assert {name: signature.batched for name, signature in finding.signatures.items()} == (
        dict.fromkeys(("serving_default", "classification", "regression", "odd"), True)
    )
    assert not [one for one in finding.warnings if "no drawn sample" in one]


def test_its_examples_are_answered(published):
    folder, finding = published
    artifact = Artifact(str(folder), finding.entry, finding.format, finding.signatures)
    servable = runtime_for(finding.engine).load(artifact, Device())
    view = ModelView(ServableId("m", 1), finding.signatures, "tensorflow_savedmodel", True)

    def ask(name, task, body):
        text = json.dumps({**body, "signature_name": name}).encode()
        request = decode_examples(text, view, task)
        answers = servable.infer(name, request.inputs)
        outputs = {key: answers[key] for key in request.outputs}
        reply = InferReply(view.servable, request.signature, outputs)
        write = encode_classes if task == "classify" else encode_values
        return json.loads(write(reply, request.examples))["results"]

    body = {"context": {"age": 10}, "examples": [{"x": [1.0, 2.0]}, {"x": [0.5, 0.0], "age": 1}]}
    assert ask("regression", "regress", body) == [13.0, 1.5]
    assert ask("classification", "classify", body) == [
        [["low", 1.0], ["high", 2.0]],
        [["low", 0.5], ["high", 0.0]],
    ]
    servable.close()
