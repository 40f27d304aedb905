"""MLflow's folders, made by MLflow: flavors, signatures, examples, requirements, refusals."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.records import PublishOptions
from maas.core.signature import DEFAULT_SIGNATURE, describe_spec
from maas.publish.child import examine
from maas.publish.detect import detect
from maas.publish.detect_file import Detected
from maas.publish.mlflow_model import read_model
from maas.publish.mlflow_requirements import differences
from maas.publish.mlflow_yaml import read_yaml
from maas.runtimes.mlflow_pyfunc import MlflowRuntime

pytestmark = [
    pytest.mark.usefixtures("own_modules"),
    pytest.mark.filterwarnings("ignore:.*Add type hints"),
]
NAMES = ["width", "height", "depth", "file"]
NOTHING = {"pip_requirements": ["numpy>=1.0"]}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(60, 4)) * [1, 5, 2, 3], columns=NAMES)


@pytest.fixture(scope="module")
def classifier(table):
    y = (table["width"] + table["height"] > 0).map({True: "big", False: "small"})
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(table, y)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Saves a model with MLflow; gives its folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/runs")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")

    def save(module: str, *args, **said) -> Path:
        place = tmp_path / "original" / "model"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow
            import mlflow.onnx
            import mlflow.pyfunc
            import mlflow.sklearn

            getattr(mlflow, module).save_model(*args, path=str(place), **(NOTHING | said))
        return place

    return save


@pytest.fixture
def publish(job_for):
    def run(place: Path, **said):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return examine(job_for(place, "mlflow", **said), lambda *_: None)

    return run


def signature_of(inputs, outputs=None, params=None):
    from mlflow.models import infer_signature

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return infer_signature(inputs, outputs, params)


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


def edited(place: Path, change) -> Path:
    file = place / "MLmodel"
    said = yaml.safe_load(file.read_text())
    change(said)
    file.write_text(yaml.safe_dump(said))
    return place


def main(finding):
    return finding.signatures[DEFAULT_SIGNATURE]


def shown(finding) -> tuple[list[str], list[str]]:
    return (
        [describe_spec(spec) for spec in main(finding).inputs],
        [describe_spec(spec) for spec in main(finding).outputs],
    )


def test_sklearn_as_skops(saved, publish, classifier, table):
    place = saved(
        "sklearn",
        classifier,
        signature=signature_of(table, classifier.predict(table)),
        pip_requirements=["scikit-learn==1.0", "not-there-at-all>=2", "numpy>=1.0"],
    )
    assert detect(place, "model") == Detected("mlflow", "MLmodel")
    finding = publish(place)
    assert (finding.engine, finding.lowered) == ("onnx", True)
    assert main(finding).inputs[0].labels == tuple(NAMES)
    assert main(finding).batched
    assert finding.written_with["mlflow"]
    assert len(finding.written_with["model_uuid"]) == 32
    (asked,) = [text for text in finding.warnings if "requirements.txt" in text]
    assert "scikit-learn==1.0 (1." in asked
    assert "not-there-at-all>=2 (not installed)" in asked
    assert "numpy" not in asked


def test_an_example_of_a_few_rows_does_not_weaken_the_proof(saved, publish, classifier, table):
    place = saved("sklearn", classifier, input_example=table[:1])
    finding = publish(place)
    assert finding.lowered
    assert main(finding).batched
    assert finding.parity.source == "model"


def test_an_example_of_many_rows_is_the_proof(saved, publish, classifier, table):
    place = saved("sklearn", classifier, input_example=table)
    finding = publish(place)
    assert finding.parity.source == "given"
    assert finding.parity.samples == 60


def test_an_example_that_does_not_fit_is_noted(saved, publish, classifier, table):
    place = saved("sklearn", classifier, input_example=table)
    (place / "serving_input_example.json").write_text('{"inputs": [["a"], ["b"]]}')
    finding = publish(place)
    assert finding.lowered
    (place / "serving_input_example.json").write_text("[1, [2, 3]]")
    assert any("input example was not used" in text for text in publish(place).warnings)
    many = json.dumps({"inputs": [[1.0]] * 30})
    (place / "serving_input_example.json").write_text(many)
    assert any("input example was not used" in text for text in publish(place).warnings)


def test_pickles_need_trust(saved, published, classifier):
    place = saved("sklearn", classifier, serialization_format="cloudpickle")
    with pytest.raises(MaasError, match="is a pickle, which can run any code"):
        published(place, "model")


def test_pickles_with_trust(saved, publish, classifier):
    place = saved("sklearn", classifier, serialization_format="cloudpickle")
    finding = publish(place)
    assert finding.lowered
    assert main(finding).inputs[0].labels == tuple(NAMES)


@pytest.fixture
def own_scaler():
    """A class that is pickled by value, and says nothing of what its rows hold."""
    space: dict = {"__name__": "__main__"}
    source = (
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "class Own(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, X, y=None):\n        self.fitted_ = True\n        return self\n"
        "    def transform(self, X):\n        return X[['width', 'height']] * 2\n"
    )
    exec(source, space)
    return space["Own"]


def test_modules_travel_with_it(saved, publish, tmp_path, monkeypatch):
    source = tmp_path / "own" / "features.py"
    source.parent.mkdir()
    source.write_text(
        "import numpy as np\n"
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "class Log(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, X, y=None):\n"
        "        self.n_features_in_ = X.shape[1]\n        return self\n"
        "    def transform(self, X):\n        return np.log1p(np.abs(X))\n"
    )
    monkeypatch.syspath_prepend(source.parent)
    from features import Log

    x = np.random.default_rng(0).normal(size=(30, 2))
    model = make_pipeline(Log(), LinearRegression()).fit(x, x[:, 0] * 2)
    place = saved("sklearn", model, serialization_format="cloudpickle", code_paths=[str(source)])
    finding = publish(place)
    assert finding.engine == "pickle"
    assert (tmp_path / "artifact" / "code" / "features.py").is_file()


def test_a_short_example_serves_where_nothing_drawn_is_answered(saved, publish, table, own_scaler):
    model = make_pipeline(own_scaler(), LinearRegression()).fit(table, table["width"] * 2)
    said = {"serialization_format": "cloudpickle", "input_example": table[:3]}
    finding = publish(saved("sklearn", model, **said))
    assert finding.engine == "pickle"
    assert [spec.name for spec in main(finding).inputs] == NAMES


def test_onnx_and_a_matrix_of_columns(saved, publish, linear, table):
    place = saved("onnx", linear(), signature=signature_of(table.astype(np.float32)))
    finding = publish(place)
    assert shown(finding) == (["x FP32 [n, 4]"], ["y FP32 [n, 4]"])
    assert main(finding).inputs[0].labels == tuple(NAMES)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (3, "has 3 columns where the model takes x FP32 [n, 4]"),
        (4, ""),
    ],
)
def test_a_signature_that_contradicts_the_model(saved, publish, linear, table, columns, words):
    place = saved("onnx", linear(), signature=signature_of(table.iloc[:, :columns]))
    if words:
        assert words in refused(publish, place)
    else:
        assert main(publish(place)).inputs[0].labels


def test_tensors_of_a_signature(saved, publish, linear):
    right = {"z": np.zeros((2, 4), np.float32)}
    place = saved("onnx", linear(), signature=signature_of(right))
    assert "calls name its input 'x', not 'z'" in " ".join(publish(place).warnings)

    def wrong(said):
        said["signature"]["inputs"] = said["signature"]["inputs"].replace("-1, 4", "-1, 4, 4")

    said = refused(publish, edited(place, wrong))
    assert "a tensor of shape [-1, 4, 4] where the model takes x FP32 [n, 4]" in said


def test_columns_that_the_model_was_not_fitted_on(saved, publish, classifier, table):
    other = table.rename(columns={"file": "weight"})
    finding = publish(saved("sklearn", classifier, signature=signature_of(other)))
    assert main(finding).inputs[0].labels == tuple(NAMES)
    assert any("names other columns" in text for text in finding.warnings)


@pytest.fixture
def pyfunc(saved):
    def save(predict: str, example, outputs=None, params=None, **said) -> Path:
        space: dict = {"__name__": "__main__"}
        source = (
            "import mlflow.pyfunc\nimport numpy as np\nimport pandas as pd\n"
            "class Own(mlflow.pyfunc.PythonModel):\n"
            f"    def predict(self, context, model_input, params=None):\n        {predict}\n"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(source, space)
        signature = signature_of(example, outputs, params)
        return saved("pyfunc", python_model=space["Own"](), signature=signature, **said)

    return save


def loaded(tmp_path, finding):
    artifact = Artifact(
        str(tmp_path / "artifact"), finding.entry, finding.format, finding.signatures
    )
    return MlflowRuntime().load(artifact, Device())


def test_python_function_of_a_table(pyfunc, publish, tmp_path):
    example = pd.DataFrame({"a": [1.0, 2.0], "name": ["x", "y"], "n": [1, 2]})
    place = pyfunc(
        "return pd.DataFrame({'both': model_input['a'] + model_input['n'], 's': "
        "model_input['name'].str.upper()})",
        example,
        params={"k": 1},
    )
    finding = publish(place)
    assert finding.engine == "mlflow"
    assert shown(finding) == (
        ["a FP64 [n]", "name BYTES [n]", "n INT64 [n]"],
        ["both FP64 [n]", "s BYTES [n]"],
    )
    assert main(finding).batched
    assert "the parameters of its signature (k) keep their defaults" in finding.warnings
    rows = {
        "a": np.array([1.5, 2.5]),
        "name": np.array([b"tea", "茶".encode()], object),
        "n": np.array([1, 2]),
    }
    found = loaded(tmp_path, finding).infer(DEFAULT_SIGNATURE, rows)
    assert found["both"].tolist() == [2.5, 4.5]
    assert found["s"].tolist() == [b"TEA", "茶".encode()]


def test_python_function_of_an_array(pyfunc, publish, tmp_path):
    place = pyfunc("return model_input.sum(axis=1)", np.zeros((2, 3), np.float32), np.zeros(2))
    finding = publish(place)
    assert shown(finding) == (["input FP32 [n, 3]"], ["output FP32 [n]"])
    found = loaded(tmp_path, finding).infer(
        DEFAULT_SIGNATURE, {"input": np.ones((2, 3), np.float32)}
    )
    assert found["output"].tolist() == [3, 3]


def test_python_function_whole_pipeline(pyfunc, published):
    place = pyfunc("return model_input['a'] * 2", pd.DataFrame({"a": [1.0, 2.0]}))
    record, _ = published(place, "model", options=PublishOptions(trust=True))
    assert (record.report.format, record.report.engine) == ("mlflow", "mlflow")
    assert record.report.confined


def test_python_function_is_code(pyfunc, published):
    place = pyfunc("return model_input", pd.DataFrame({"a": [1.0]}))
    with pytest.raises(MaasError, match="is served by its own Python, which is code; publish it w"):
        published(place, "model")


def test_python_function_needs_a_signature(saved, publish):
    def drop(said):
        said.pop("signature", None)

    import mlflow.pyfunc

    class Own(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input

    place = saved("pyfunc", python_model=Own(), signature=signature_of(np.zeros((1, 2))))
    assert "has no signature, so nothing says" in refused(publish, edited(place, drop))


def test_python_function_without_mlflow(pyfunc, publish, monkeypatch):
    place = pyfunc("return model_input", pd.DataFrame({"a": [1.0]}))
    monkeypatch.setattr("maas.runtimes.mlflow_pyfunc.find_spec", lambda name: None)
    said = refused(publish, place)
    assert (
        "mlflow and pandas are not installed where the server runs: pip install mlflow-sk" in said
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["flavors"]["sklearn"].update(pickled_model="../../x"), "no path inside the"),
        (lambda s: s["flavors"]["sklearn"].update(pickled_model="/etc/passwd"), "no path inside t"),
        (lambda s: s["flavors"]["sklearn"].update(pickled_model="a\nb"), "no path inside the fo"),
        (lambda s: s["flavors"]["sklearn"].update(pickled_model="gone"), "which the folder does n"),
        (lambda s: s["flavors"]["sklearn"].update(pickled_model="link"), "is a link or a device"),
        (lambda s: s["flavors"]["sklearn"].update(code="../.."), "no path inside the folder"),
        (lambda s: s.update(flavors={"spark": {}}), "the flavors spark, none of which is served"),
        (lambda s: s.update(flavors=[1]), "names no flavors"),
        (
            lambda s: s.update(signature={"inputs": "[1]"}),
            "signature's inputs in MLmodel cannot be",
        ),
        (lambda s: s.update(signature={"inputs": 7}), "signature's inputs in MLmodel cannot be"),
        (lambda s: s.update(signature={"inputs": '[{"type": "tensor"}]'}), "are no columns and no"),
        (
            lambda s: s.update(signature={"inputs": '[{"type":"long"},{"type":"long"}]'}),
            "each with a name of its own",
        ),
    ],
)
def test_hostile_mlmodels(saved, publish, classifier, change, words):
    place = saved("sklearn", classifier)
    (place / "link").symlink_to("/etc/passwd")
    assert words in refused(publish, edited(place, change))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [x,x]\n" + "".join(f"{c}: &{c} [*{p},*{p},*{p},*{p}]\n"
            for p, c in zip("abcdefgh", "bcdefghi", strict=True)), "too many values or aliases"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("[" * 100_000, "nested too deeply"),
        ("a: " * 2 + "b", "cannot be read as YAML"),
        ("- 1", "holds no mapping"),
        ("x" * (5 << 20), "larger than 4 MiB"),
        ("\x00", "cannot be read as YAML"),
        ("? [a]\n: 1", "found unhashable key"),
    ],
)  # fmt: skip
def test_hostile_yaml(publish, tmp_path, text, words):
    place = tmp_path / "original" / "model"
    place.mkdir(parents=True)
    (place / "MLmodel").write_text(text)
    assert words in refused(publish, place)


def test_folders_with_links_are_refused(saved, published, classifier):
    place = saved("sklearn", classifier)
    (place / "extra").symlink_to("/etc/passwd")
    with pytest.raises(MaasError, match="'extra' in the folder is a link or a device"):
        published(place, "model")


def test_a_condition_that_means_nothing_is_said(tmp_path):
    (tmp_path / "requirements.txt").write_text('not-there; os_name ~= "x"\nnumpy>=1.0\n')
    assert differences(tmp_path, pyfunc=False) == (
        "not every line of requirements.txt names a distribution; the rest was compared",
    )


@pytest.mark.parametrize(
    "value", ["!!bool x", "!!int ''", "!!float ''", "!!timestamp x", "!!python/name:os.system x"]
)
def test_yaml_whose_tags_lie_is_refused(tmp_path, value):
    (tmp_path / "MLmodel").write_text(f"a: {value}\n")
    with pytest.raises(MaasError, match="cannot be read as YAML") as caught:
        read_yaml(tmp_path / "MLmodel")
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_an_environment_without_requirements(saved, classifier):
    place = saved("sklearn", classifier)
    (place / "requirements.txt").unlink()
    (place / "python_env.yaml").unlink()
    (place / "conda.yaml").write_text(
        "dependencies:\n- python=3.7.1\n- pip<=20\n- numpy=1.2=py37_0\n- pip:\n  - msgspec>=0.1\n"
        "  - -r more.txt\n"
    )
    asked, unread, python = differences(place, pyfunc=False)
    assert asked.startswith("conda.yaml asks for numpy==1.2 (")
    assert "msgspec" not in asked
    assert unread.startswith("not every line of conda.yaml")
    assert python.startswith("saved with Python 3.7.1, read with 3.")


def test_a_distribution_under_another_name_counts(saved, classifier):
    xgboost = pytest.importorskip("xgboost")
    place = saved("sklearn", classifier)
    (place / "requirements.txt").write_text(f"xgboost=={xgboost.__version__}\nnot-there-at-all\n")
    (asked,) = (text for text in differences(place, pyfunc=False) if "requirements.txt" in text)
    assert "xgboost" not in asked
    assert "not-there-at-all (not installed)" in asked


def test_reads_what_mlflow_writes(saved, classifier, table):
    place = saved("sklearn", classifier, signature=signature_of(table))
    model = read_model(place)
    assert [field.label for field in model.signature.inputs] == NAMES
    assert model.signature.is_table
