"""Whatever stands in MLmodel and config.pbtxt: a sentence comes out, and little memory is taken."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.publish.detect_folder import inside
from maas.publish.mlflow_flavors import choose_flavor
from maas.publish.mlflow_model import read_model
from maas.publish.mlflow_requirements import differences
from maas.publish.pbtxt import as_json, from_json, read_config
from maas.publish.triton_config import specs_of
from maas.publish.triton_folder import read_folder

MLMODEL = b"""flavors:
  sklearn: {code: null, pickled_model: model.skops, serialization_format: skops}
  python_function: {loader_module: mlflow.sklearn, model_path: model.skops}
mlflow_version: 3.17.2
model_uuid: e32ae9e661c44c7f93b7e7c6240442db
saved_input_example_info: {artifact_path: input_example.json, type: dataframe}
signature:
  inputs: '[{"type": "double", "name": "a", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: null
"""
CONFIG = b"""name: "m" backend: "onnxruntime" max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]
parameters: { key: "k" value: { string_value: "v" } }
dynamic_batching { }
"""
REQUIREMENTS = b"mlflow==3.17.2\nscikit-learn==1.5.0 ; python_version > '3'\n# x\n-r other\n"
KINDS = (ErrorKind.INVALID_ARGUMENT, ErrorKind.TOO_LARGE)
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@st.composite
def mutated(draw, seed: bytes) -> bytes:
    """Bytes of any kind, or valid ones with a few places changed, cut or doubled."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=400))
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data)))
        what = draw(st.sampled_from(["set", "cut", "copy", "word"]))
        if what == "set":
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=3))
        elif what == "cut":
            del data[place : place + draw(st.integers(1, 20))]
        elif what == "copy":
            data[place:place] = data[place : place + draw(st.integers(1, 40))]
        else:
            words = [b"[", b"]", b"{", b"}", b"&a ", b"*a ", b"!!", b"'", b'"', b": ", b"-1", b"<<"]
            data[place:place] = draw(st.sampled_from(words))
    return bytes(data)


@contextlib.contextmanager
def folder_with(name: str, data: bytes):
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "model.skops").write_bytes(b"PK")
        (folder / "1").mkdir()
        (folder / "1" / "model.onnx").write_bytes(b"x")
        (folder / name).write_bytes(data)
        try:
            yield folder
        except MaasError as error:
            check(error, made)


def check(error: MaasError, folder: str) -> None:
    assert error.kind in KINDS
    assert "\n" not in error.message
    assert len(error.message) < 1000
    assert folder not in error.message


@FUZZ
@given(mutated(MLMODEL))
def test_mlmodel(data):
    with folder_with("MLmodel", data) as folder:
        choose_flavor(read_model(folder), trust=True)


@FUZZ
@given(mutated(CONFIG))
def test_config(data):
    with folder_with("config.pbtxt", data) as folder:
        config = read_config(folder / "config.pbtxt")
        assert from_json(as_json(config)) == config
        model = read_folder(folder)
        specs_of(model, model.config.input)
        specs_of(model, model.config.output)


@FUZZ
@given(mutated(REQUIREMENTS), mutated(b"dependencies:\n- python=3.11\n- pip:\n  - numpy==1\n"))
def test_requirements(asked, conda):
    with folder_with("requirements.txt", asked) as folder:
        (folder / "conda.yaml").write_bytes(conda)
        differences(folder, pyfunc=True)


@FUZZ
@given(st.text(max_size=40) | st.sampled_from(["..", "a/../b", "/x", "1/", "1//model.onnx", "."]))
def test_no_name_leads_out_of_the_folder(name):
    with folder_with("x", b"") as folder:
        found = inside(folder, name, "it")
        assert found.resolve().is_relative_to(folder.resolve())
        assert found.exists()


@pytest.mark.parametrize("name", ["link", "link/passwd", "1/up", "1/../model.skops", "a\\b", ""])
def test_links_and_dots_are_refused(tmp_path, name):
    (tmp_path / "1").mkdir()
    (tmp_path / "model.skops").write_bytes(b"")
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "1" / "up").symlink_to("..")
    with pytest.raises(MaasError):
        inside(tmp_path, name, "it")
