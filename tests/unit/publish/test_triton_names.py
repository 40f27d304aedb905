"""Triton's numbered names on models whose files know none: TorchScript, XGBoost, LightGBM."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from maas.core.errors import MaasError
from maas.core.ports import Artifact, Device
from maas.core.records import PublishOptions
from maas.core.signature import DEFAULT_SIGNATURE, describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.publish.child import examine
from maas.publish.triton_names import in_order
from maas.runtimes.onnx import OnnxRuntime
from maas.runtimes.torch import TorchRuntime

X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "original" / "model"
    (place / "1").mkdir(parents=True)

    def write(config: str):
        (place / "config.pbtxt").write_text(config)
        return place

    return write


@pytest.fixture
def publish(job_for):
    def run(place, **said):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return examine(job_for(place, "triton", **said), lambda *_: None)

    return run


def shown(finding) -> tuple[list[str], list[str]]:
    signature = finding.signatures[DEFAULT_SIGNATURE]
    return (
        [describe_spec(spec) for spec in signature.inputs],
        [describe_spec(spec) for spec in signature.outputs],
    )


def loaded(runtime, tmp_path, finding):
    artifact = Artifact(
        str(tmp_path / "artifact"), finding.entry, finding.format, finding.signatures
    )
    return runtime.load(artifact, Device())


def config(backend: str, inputs: str, outputs: str, **parameters: str) -> str:
    said = "".join(
        f'parameters: {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
        for key, value in parameters.items()
    )
    return f'backend: "{backend}"\nmax_batch_size: 64\n{inputs}\n{outputs}\n{said}'


IN = 'input { name: "input__0" data_type: TYPE_FP32 dims: [ 4 ] }'
ONE = 'output { name: "output__0" data_type: TYPE_FP32 dims: [ 1 ] }'
THREE = 'output { name: "output__0" data_type: TYPE_FP32 dims: [ 3 ] }'


@pytest.fixture(scope="module")
def forest():
    xgboost = pytest.importorskip("xgboost")
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    return xgboost.XGBClassifier(n_estimators=4, max_depth=3).fit(X, y)


def test_probabilities_of_a_forest(folder, publish, forest, tmp_path):
    place = folder(config("fil", IN, THREE, model_type="xgboost_json", predict_proba="true"))
    forest.save_model(place / "1" / "xgboost.json")
    finding = publish(place)
    assert finding.format == "onnx"
    assert shown(finding) == (["input__0 FP32 [n, 4]"], ["output__0 FP32 [n, 3]"])
    servable = loaded(OnnxRuntime(), tmp_path, finding)
    found = servable.infer(DEFAULT_SIGNATURE, {"input__0": X[:9]})
    assert np.allclose(found["output__0"], forest.predict_proba(X[:9]), atol=1e-5)


def test_classes_of_a_forest_whole_pipeline(folder, published, forest):
    place = folder(config("fil", IN, ONE, model_type="xgboost_json", output_class="true"))
    forest.save_model(place / "1" / "xgboost.json")
    record, _ = published(place, "model")
    (output,) = record.signatures[DEFAULT_SIGNATURE].outputs
    assert describe_spec(output) == "output__0 FP32 [n, 1]"
    assert record.report.parity.agrees


def test_raw_margins_are_refused(folder, publish, forest):
    place = folder(config("fil", IN, ONE, model_type="xgboost_json"))
    forest.save_model(place / "1" / "xgboost.json")
    with pytest.raises(MaasError, match="raw margins, which are not given here"):
        publish(place)


@pytest.fixture(scope="module")
def script():
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(4, 3)

        def forward(self, image, other):
            return self.line(image) + other, image.sum(dim=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(Two().eval(), (torch.zeros(2, 4), torch.zeros(2, 3)))


TORCH = (
    'input [ { name: "INPUT__1" data_type: TYPE_FP32 dims: [ 3 ] }, '
    '{ name: "INPUT__0" data_type: TYPE_FP32 dims: [ 4 ] } ]',
    'output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 3 ] }, '
    '{ name: "OUTPUT__1" data_type: TYPE_FP32 dims: [ ] } ]',
)


@pytest.mark.parametrize("engine", ["", "torch"])
def test_torchscript(folder, publish, script, tmp_path, engine):
    place = folder(config("pytorch", *TORCH))
    script.save(str(place / "1" / "model.pt"))
    finding = publish(place, engine=engine)
    assert finding.engine == (engine or "onnx")
    assert shown(finding) == (
        ["INPUT__0 FP32 [n, 4]", "INPUT__1 FP32 [n, 3]"],
        ["OUTPUT__0 FP32 [n, 3]", "OUTPUT__1 FP32 [n]"],
    )
    assert finding.signatures[DEFAULT_SIGNATURE].batched
    servable = loaded(TorchRuntime() if engine else OnnxRuntime(), tmp_path, finding)
    rows = {"INPUT__0": X[:5], "INPUT__1": np.ones((5, 3), np.float32)}
    found = servable.infer(DEFAULT_SIGNATURE, rows)
    assert np.allclose(found["OUTPUT__1"], X[:5].sum(axis=1), atol=1e-5)


def test_torchscript_whole_pipeline(folder, published, script):
    place = folder(config("pytorch", *TORCH))
    script.save(str(place / "1" / "model.pt"))
    record, _ = published(place, "model", options=PublishOptions(trust=True, engine="torch"))
    assert record.report.engine == "torch"
    assert record.signatures[DEFAULT_SIGNATURE].inputs[0].name == "INPUT__0"


def test_a_sample_under_tritons_names(folder, publish, script, tmp_path):
    place = folder(config("pytorch", *TORCH))
    script.save(str(place / "1" / "model.pt"))
    sample = tmp_path / "rows.npz"
    np.savez(sample, INPUT__0=X[:50], INPUT__1=X[:50, :3])
    assert publish(place, sample=sample).parity.samples == 50


def test_other_tensors_than_the_model_has(folder, publish, script):
    place = folder(config("pytorch", IN, THREE))
    script.save(str(place / "1" / "model.pt"))
    with pytest.raises(MaasError, match="has 1 inputs where the model has 2; correct it"):
        publish(place)


def test_order_is_that_of_the_numbers():
    specs = [TensorSpec(f"x__{n}", DType.FP32, (None,)) for n in (10, 2, 0)]
    assert [s.name for s in in_order(tuple(specs))] == ["x__0", "x__2", "x__10"]
    named = (TensorSpec("b", DType.FP32, ()), specs[0])
    assert in_order(named) == named
