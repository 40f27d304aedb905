"""Folders of Triton's: the configuration against the model, its labels, the Python backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.records import PublishOptions
from maas.core.signature import DEFAULT_SIGNATURE, describe_spec
from maas.publish.child import examine
from maas.publish.detect import detect
from maas.publish.detect_file import Detected
from maas.runtimes.triton_python import TritonPythonRuntime

pytestmark = pytest.mark.usefixtures("own_modules")
TENSORS = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]
"""
ADD_SUB = '''
import json
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Adds and subtracts, as Triton's own example does."""

    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        self.types = [
            pb_utils.triton_string_to_numpy(
                pb_utils.get_output_config_by_name(self.config, name)["data_type"]
            )
            for name in ("OUTPUT0", "OUTPUT1")
        ]
        self.most = 0

    def execute(self, requests):
        responses = []
        for request in requests:
            a = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
            self.most = max(self.most, len(a))
            assert self.most <= 8
            if (a > 1000).any():
                error = pb_utils.TritonError("too large", pb_utils.TritonError.INVALID_ARG)
                responses.append(pb_utils.InferenceResponse(error=error))
                continue
            out = [
                pb_utils.Tensor("OUTPUT0", (a + b).astype(self.types[0])),
                pb_utils.Tensor("OUTPUT1", (a - b).astype(self.types[1])),
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=out))
        return responses

    def finalize(self):
        print("bye")
'''
ADD_SUB_CONFIG = """
name: "add_sub"
backend: "python"
max_batch_size: 8
input [
  { name: "INPUT0" data_type: TYPE_FP32 dims: [ 4 ] },
  { name: "INPUT1" data_type: TYPE_FP32 dims: [ 4 ] }
]
output [
  { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 4 ] },
  { name: "OUTPUT1" data_type: TYPE_FP32 dims: [ 4 ] }
]
"""


@pytest.fixture
def folder(tmp_path):
    """Writes a model's folder; a name's `__` is a slash."""

    def write(config: str | None, **files: str | bytes) -> Path:
        place = tmp_path / "original" / "model"
        place.mkdir(parents=True, exist_ok=True)
        if config is not None:
            (place / "config.pbtxt").write_text(config)
        for name, data in files.items():
            path = place / name.lstrip("v").replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return place

    return write


@pytest.fixture
def publish(job_for):
    def run(place: Path, **said):
        return examine(job_for(place, "triton", **said), lambda *_: None)

    return run


def refused(publish, place, **said) -> str:
    with pytest.raises(MaasError) as caught:
        publish(place, **said)
    assert caught.value.kind in (
        ErrorKind.INVALID_ARGUMENT,
        ErrorKind.FAILED_PRECONDITION,
        ErrorKind.TOO_LARGE,
    )
    assert "\n" not in caught.value.message
    return caught.value.message


def shown(finding) -> tuple[list[str], list[str]]:
    signature = finding.signatures[DEFAULT_SIGNATURE]
    return (
        [describe_spec(spec) for spec in signature.inputs],
        [describe_spec(spec) for spec in signature.outputs],
    )


def loaded(tmp_path, finding):
    artifact = Artifact(
        str(tmp_path / "artifact"), finding.entry, finding.format, finding.signatures
    )
    return TritonPythonRuntime().load(artifact, Device())


def test_an_onnx_model_with_its_labels(folder, publish, linear):
    model = linear().SerializeToString()
    place = folder(
        'name: "m" backend: "onnxruntime" max_batch_size: 8' + TENSORS,
        labels_dot_txt="a\nb\nc\nd\n",
        v1__model_dot_onnx=b"an older one",
        v3__model_dot_onnx=model,
    )
    finding = publish(place)
    assert (finding.engine, finding.format) == ("onnx", "onnx")
    assert shown(finding) == (["x FP32 [n, 4]"], ["y FP32 [n, 4]"])
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.batched
    assert signature.outputs[0].labels == ("a", "b", "c", "d")
    assert "version 3 of the Triton model, the highest; 1 is left out" in finding.warnings[0]


def test_no_configuration_is_completed(folder, publish, linear):
    place = folder(None, v7__model_dot_onnx=linear().SerializeToString())
    assert detect(place, "m") == Detected("triton", "7")
    assert shown(publish(place))[0] == ["x FP32 [n, 4]"]


def test_whole_pipeline(folder, published, linear):
    place = folder(
        'platform: "onnxruntime_onnx" max_batch_size: 8' + TENSORS,
        labels_dot_txt="a\nb\nc\nd",
        v1__model_dot_onnx=linear().SerializeToString(),
    )
    record, new = published(place, "m")
    assert new
    assert record.report.format == "triton"
    assert record.report.engine in ("onnx", "openvino")
    assert record.signatures[DEFAULT_SIGNATURE].outputs[0].labels == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("max_batch_size: 8" + TENSORS.replace("FP32", "FP64"), "says x FP64 [n, 4] where the mod"),
        ("max_batch_size: 8" + TENSORS.replace("dims: [ 4 ]", "dims: [ 5 ]"), "x FP32 [n, 5] wher"),
        (TENSORS, "says x FP32 [4] where the model has x FP32 [n, 4]"),
        ("max_batch_size: 8" + TENSORS.replace('"x"', '"z"'), "has an input 'z', which the model "),
        ("max_batch_size: 8" + TENSORS.replace('"y"', '"z"'), "has an output 'z', which the model"),
        ("max_batch_size: 8" + TENSORS.replace("[ 4 ]", "[ 0 ]"), "expected sizes from 1 on"),
        ("max_batch_size: 8" + TENSORS.replace("TYPE_FP32", "TYPE_INVALID"), "no data_type"),
        ('platform: "ensemble"', "is an ensemble (of no steps), and pipelines"),
        ('ensemble_scheduling { step { model_name: "tok" } }', "is an ensemble (of 'tok')"),
        ("model_transaction_policy { decoupled: true }", "is decoupled"),
        ("sequence_batching { }", "keeps state between calls"),
        ('backend: "tensorrt_llm"', "the Triton backend 'tensorrt_llm' is not served here"),
        ('platform: "tensorrt_plan"', "backend 'tensorrt' is not served here; accepted are onnxr"),
        ('backend: "openvino"', "'openvino' is not served yet"),
        ('backend: "pytorch"', "names 'model.pt', which the folder does not hold"),
        ('default_model_filename: "../../secret.onnx"', "is no path inside the folder"),
        ('default_model_filename: "/etc/passwd" backend: "onnxruntime"', "is no path inside the f"),
        ('backend: "fil" parameters { key: "model_type" value { string_value: "treelite_x" } }',
         "model_type 'treelite_x' is not served"),
        ('input { name: "x" reshape { shape: [ ] } }', "reshapes 'x', which is not done here"),
        ("input { name: ", "config.pbtxt cannot be read"),
        ("max_batch_size: 4 " + "#" * (1 << 20), "larger than 1 MiB"),
    ],
)  # fmt: skip
def test_refusals(folder, publish, linear, config, words):
    place = folder(config, v1__model_dot_onnx=linear().SerializeToString())
    assert words in refused(publish, place)


def test_labels_stay_inside_and_fit(folder, publish, linear, tmp_path):
    model = linear().SerializeToString()
    config = "max_batch_size: 8" + TENSORS
    place = folder(config, v1__model_dot_onnx=model)
    assert "names 'labels.txt', which the folder does not hold" in refused(publish, place)
    (place / "labels.txt").symlink_to("/etc/passwd")
    assert "is a link or a device" in refused(publish, place)
    (place / "labels.txt").unlink()
    (place / "labels.txt").write_bytes(b"a\nb\n")
    finding = publish(place)
    assert finding.signatures[DEFAULT_SIGNATURE].outputs[0].labels is None
    assert "2 labels where output 'y' has 4 scores" in finding.warnings[0]


def test_the_python_backend(folder, publish, tmp_path):
    place = folder(ADD_SUB_CONFIG, v1__model_dot_py="raise Exception", v2__model_dot_py=ADD_SUB)
    finding = publish(place)
    assert finding.engine == "triton-python"
    assert shown(finding) == (
        ["INPUT0 FP32 [n, 4]", "INPUT1 FP32 [n, 4]"],
        ["OUTPUT0 FP32 [n, 4]", "OUTPUT1 FP32 [n, 4]"],
    )
    assert finding.signatures[DEFAULT_SIGNATURE].batched
    assert finding.entry == "model/2/model.py"
    assert not (tmp_path / "artifact" / "model" / "1").exists()
    servable = loaded(tmp_path, finding)
    x = np.arange(80, dtype=np.float32).reshape(20, 4)
    found = servable.infer(DEFAULT_SIGNATURE, {"INPUT0": x, "INPUT1": x})
    assert np.array_equal(found["OUTPUT0"], 2 * x)
    assert not found["OUTPUT1"].any()
    with pytest.raises(MaasError) as caught:
        servable.infer(DEFAULT_SIGNATURE, {"INPUT0": x + 2000, "INPUT1": x})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "too large" in caught.value.message
    servable.close()


def test_the_python_backend_is_code(folder, published):
    with pytest.raises(MaasError, match="of the Python backend, which is code; publish it with"):
        published(folder(ADD_SUB_CONFIG, v1__model_dot_py=ADD_SUB), "m")


def test_the_python_backend_whole_pipeline(folder, published):
    place = folder(ADD_SUB_CONFIG, v1__model_dot_py=ADD_SUB)
    record, _ = published(place, "m", options=PublishOptions(trust=True))
    assert record.report.engine == "triton-python"
    assert record.report.platform == "python"
    assert record.report.confined


BYTES = """
import numpy as np
import triton_python_backend_utils as pb_utils
from helper import shout

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "IN", "data_type": "TYPE_STRING", "dims": [-1]})
        config.add_output({"name": "OUT", "data_type": "TYPE_STRING", "dims": [-1]})
        config.set_max_batch_size(0)
        return config

    def execute(self, requests):
        pb_utils.Logger.log_info("called")
        values = requests[0].inputs()[0].as_numpy()
        assert all(isinstance(v, bytes) for v in values.ravel())
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", shout(values))])]
"""


def test_bytes_stay_bytes_and_code_completes_the_configuration(folder, publish, tmp_path):
    helper = "import numpy as np\ndef shout(a):\n    return np.array([v + b'!' for v in a], object)"
    finding = publish(folder(None, v1__model_dot_py=BYTES, v1__helper_dot_py=helper))
    assert shown(finding) == (["IN BYTES [n]"], ["OUT BYTES [n]"])
    assert not finding.signatures[DEFAULT_SIGNATURE].batched
    assert "gives no max_batch_size" in finding.batch_note
    picture = np.array([b"\xff\xd8\xff", b"a"], object)
    found = loaded(tmp_path, finding).infer(DEFAULT_SIGNATURE, {"IN": picture})
    assert found["OUT"].tolist() == [b"\xff\xd8\xff!", b"a!"]


def body(execute: str, head: str = "") -> str:
    return (
        "import numpy as np\nimport triton_python_backend_utils as pb_utils\n" + head
        + "class TritonPythonModel:\n    def execute(self, requests):\n        " + execute
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "has no class TritonPythonModel"),
        (body("return None"), "execute returned None for one request"),
        (body("return []"), "execute returned 0 responses"),
        (body("return [3]"), "answered with a int; expected an InferenceResponse"),
        (body("return [pb_utils.InferenceResponse([])]"), "the model returned nothing where"),
        (body("return requests[0].get_response_sender()"), "a response sender is for decoupled"),
        (body("return requests[0].exec()"), "the sandbox reaches no other process"),
        (body("pb_utils.MetricFamily()"), "has no 'MetricFamily' here"),
        (body("raise pb_utils.TritonModelException('boom')"), "TritonModelException: boom"),
        (body("pass", "import not_there_at_all\n"), "needs module 'not_there_at_all'"),
        ("class TritonPythonModel:\n  async def execute(self, r):\n    pass", "execute is async"),
        (
            body("pass").replace("def execute", "def initialize(self, a): 1/0\n    def execute"),
            "the model's initialize failed: ZeroDivisionError",
        ),
    ],
)
def test_what_the_python_backend_refuses(folder, publish, source, words):
    assert words in refused(publish, folder(ADD_SUB_CONFIG, v1__model_dot_py=source))


def test_an_environment_of_its_own_is_not_opened(folder, publish):
    config = ADD_SUB_CONFIG + (
        'parameters: { key: "EXECUTION_ENV_PATH" value: { string_value: "env.tar.gz" } }'
    )
    said = refused(publish, folder(config, v1__model_dot_py=ADD_SUB))
    assert "brings a Python environment of its own" in said


def test_a_repository_is_named(folder, tmp_path):
    folder(ADD_SUB_CONFIG, v1__model_dot_py=ADD_SUB)
    with pytest.raises(MaasError, match="looks like a repository of Triton models \\(model\\)"):
        detect(tmp_path / "original", "models")


def test_a_folder_without_versions(folder, publish):
    assert "has no version folder" in refused(publish, folder(ADD_SUB_CONFIG))
    said = refused(publish, folder("max_batch_size: 1", v1__weights_dot_bin="x"))
    assert "says which backend serves it" in said


def test_a_base_path_gives_its_highest_version(tmp_path):
    for number in ("2", "12", "3x", "012"):
        (tmp_path / "base" / number).mkdir(parents=True)
        (tmp_path / "base" / number / "saved_model.pb").write_bytes(b"")
    assert detect(tmp_path / "base", "base") == Detected("savedmodel", "12/saved_model.pb")
    (tmp_path / "base" / "12" / "saved_model.pb").unlink()
    (tmp_path / "base" / "12" / "saved_model.pb").symlink_to("/etc/passwd")
    with pytest.raises(MaasError, match="is not a regular file"):
        detect(tmp_path / "base", "base")
