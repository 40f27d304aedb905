"""Pickles at publish: from a file and what the messages say, to a service."""

from __future__ import annotations

import pickle
import sys
import types

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.pythonmodel import Float32, PythonModel
from maas.core.records import PublishOptions
from maas.core.signature import DEFAULT_SIGNATURE, describe_spec
from maas.publish.child import examine
from maas.runtimes.plugins import runtime_for
from maas.runtimes.tensorfile import read_tensors

pytestmark = pytest.mark.usefixtures("own_modules")
X, Y = load_iris(return_X_y=True)
FEATURES = '''
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

class Cleaner(TransformerMixin, BaseEstimator):
    """Asks for the columns of a data frame by name."""

    def fit(self, table, y=None):
        self.usual_ = float(table["age"].mean())
        return self

    def transform(self, table):
        assert table["rooms"].dtype.kind == "i"
        return np.c_[table["age"].fillna(self.usual_), table["sex"].str.lower() == "f",
                     table["rooms"] > 3]

def halve(rows):
    return rows / 2
'''


class Tripler(PythonModel):
    """A model that is published as an object."""

    def __init__(self, times: float):
        self.times = times

    def infer(self, x: Float32[None, 2]) -> dict:
        """Multiplies."""
        return {"y": np.float32(self.times) * x}


class Nobody:
    """Neither predicts nor transforms."""


@pytest.fixture
def features(tmp_path):
    """A module of the publisher's own, importable while the model is made; and its folder."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "features.py").write_text(FEATURES)
    module = types.ModuleType("features")
    sys.modules["features"] = module
    exec(FEATURES, module.__dict__)
    return module, folder


@pytest.fixture
def people():
    """A data frame with gaps, and answers."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": rng.normal(40, 10, 200).round(1),
            "sex": rng.choice(["M", "f", "F"], 200),
            "rooms": rng.integers(1, 7, 200),
        }
    )
    table.loc[::9, "age"] = np.nan
    return table, ((table["sex"] == "M") ^ (table["rooms"] > 3)).to_numpy()


@pytest.fixture
def publish(tmp_path, job_for):
    """Examines an object as a pickle."""

    def run(model, name="churn.pkl", **said):
        file = tmp_path / name
        if isinstance(model, bytes):
            file.write_bytes(model)
        else:
            file.write_bytes(pickle.dumps(model))
        return examine(job_for(file, "pickle", **said), lambda *_: None)

    return run


@pytest.fixture
def serve(tmp_path):
    """Loads what was found, as the worker does."""

    def run(finding):
        artifact = Artifact(
            str(tmp_path / "artifact"), finding.entry, finding.format, finding.signatures
        )
        return runtime_for(finding.engine).load(artifact, Device())

    return run


def refused(publish, *args, **said) -> str:
    with pytest.raises(MaasError) as caught:
        publish(*args, **said)
    assert caught.value.kind in (ErrorKind.INVALID_ARGUMENT, ErrorKind.FAILED_PRECONDITION)
    return caught.value.message


def test_an_estimator_is_lowered_and_nothing_else_is_kept(publish, tmp_path):
    finding = publish(LogisticRegression(max_iter=500).fit(X, Y))
    assert (finding.engine, finding.format, finding.lowered) == ("onnx", "onnx", True)
    assert finding.parity.agrees
    assert finding.parity.samples >= 256
    assert finding.written_with == {"scikit-learn": sklearn.__version__}
    assert [p.name for p in (tmp_path / "artifact").iterdir()] == ["model.onnx"]
    samples = read_tensors(tmp_path / "work" / "samples.msgpack")[DEFAULT_SIGNATURE]
    answers = read_tensors(tmp_path / "work" / "answers.msgpack")[DEFAULT_SIGNATURE]
    assert samples["x"].dtype == np.float32
    assert len(samples["x"]) == len(answers["label"]) == finding.parity.samples
    assert answers["probabilities"].shape[1] == 3


@pytest.mark.parametrize("compress", [0, 3, ("xz", 1)], ids=str)
def test_joblib_files(publish, tmp_path, compress):
    file = tmp_path / "forest.joblib"
    joblib.dump(RandomForestClassifier(5, n_jobs=-1, random_state=0).fit(X, Y), file, compress)
    assert publish(file.read_bytes(), "forest.joblib").engine == "onnx"


@pytest.mark.parametrize("engine", ["sklearn", "pickle"])
def test_the_published_form_may_be_asked_for(publish, serve, tmp_path, engine):
    forest = RandomForestClassifier(5, n_jobs=-1, random_state=0).fit(X, Y)
    finding = publish(forest, engine=engine)
    assert (finding.engine, finding.format, finding.entry) == ("pickle", "pickle", "model.pkl")
    assert f"--engine {engine} asks for it" in finding.reason
    servable = serve(finding)
    got = servable.infer(DEFAULT_SIGNATURE, {"x": X.astype(np.float32)})
    np.testing.assert_array_equal(got["label"], forest.predict(X))
    assert not (tmp_path / "work" / "samples.msgpack").exists()
    servable.close()


def test_a_new_user_follows_the_messages(publish, serve, features, people, tmp_path):
    module, folder = features
    table, stays = people
    model = make_pipeline(module.Cleaner(), LogisticRegression()).fit(table, stays)
    want = model.predict_proba(table)
    data = pickle.dumps(model)
    del sys.modules["features"]

    assert refused(publish, data) == "churn.pkl needs module 'features': add --code features.py"
    said = refused(publish, data, code=folder)
    assert said.startswith("Cleaner is code of its own, which does not say what its rows hold: ")
    assert "publish it with --sample and a few rows" in said
    sample = tmp_path / "rows.csv"
    table.to_csv(sample, index=False)
    finding = publish(data, code=folder, sample=sample)
    assert (finding.engine, finding.lowered) == ("pickle", False)
    assert "its code asks for the columns of a data frame" in finding.reason
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert [describe_spec(spec) for spec in signature.inputs] == [
        "age FP32 [n]",
        "sex BYTES [n]",
        "rooms INT64 [n]",
    ]
    assert signature.batched

    servable = serve(finding)
    call = {
        "age": table["age"].to_numpy(np.float32),
        "sex": np.array([text.encode() for text in table["sex"]], dtype=object),
        "rooms": table["rooms"].to_numpy(np.int64),
    }
    got = servable.infer(DEFAULT_SIGNATURE, call)
    np.testing.assert_allclose(got["probabilities"], want, rtol=1e-4)
    servable.close()


@pytest.mark.parametrize("ending", ["npz", "json", "csv"])
def test_columns_keep_their_types_whatever_the_sample_is(
    publish, features, people, tmp_path, ending
):
    module, folder = features
    table, stays = people
    model = make_pipeline(module.Cleaner(), LogisticRegression()).fit(table, stays)
    sample = tmp_path / f"rows.{ending}"
    if ending == "npz":
        np.savez(sample, **{name: np.array(table[name].tolist()) for name in table})
    elif ending == "json":
        table.to_json(sample, orient="records")
    else:
        table.to_csv(sample, index=False)
    inputs = publish(model, code=folder, sample=sample).signatures[DEFAULT_SIGNATURE].inputs
    assert {spec.name: str(spec.dtype) for spec in inputs} == {
        "age": "FP32",
        "sex": "BYTES",
        "rooms": "INT64",
    }


def test_code_inside_a_column_transformer_gets_its_data_frame(publish, features, people, tmp_path):
    module, folder = features
    table, stays = people
    table = table.fillna(1.0)
    columns = ColumnTransformer(
        [
            ("half", FunctionTransformer(module.halve), ["age", "rooms"]),
            ("words", OneHotEncoder(), ["sex"]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(table, stays)
    said = refused(publish, model, code=folder)
    assert "a few rows with the columns age, sex, rooms (.csv" in said
    sample = tmp_path / "rows.csv"
    table.drop(columns="sex").to_csv(sample, index=False)
    said = refused(publish, model, code=folder, sample=sample)
    assert said == ("the sample lacks the column 'sex'; the model was fitted on age, sex, rooms")
    table.to_csv(sample, index=False)
    assert publish(model, code=folder, sample=sample).engine == "pickle"


def test_a_step_of_ones_own_on_numbers_needs_no_sample(publish, features):
    module, folder = features
    own = FunctionTransformer(module.halve)
    scaled = make_pipeline(StandardScaler(), own, LogisticRegression()).fit(X, Y)
    finding = publish(scaled, code=folder)
    assert finding.engine == "pickle"
    assert "skl2onnx cannot convert it" in finding.reason
    assert finding.signatures[DEFAULT_SIGNATURE].batched


def test_the_sample_of_a_matrix_may_name_its_columns_in_any_order(publish, tmp_path):
    table = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = LogisticRegression(max_iter=500).fit(table, Y)
    sample = tmp_path / "rows.csv"
    table.assign(unused="text")[["d", "unused", "c", "b", "a"]].to_csv(sample, index=False)
    finding = publish(model, sample=sample)
    assert finding.parity.source == "given"
    assert finding.parity.distinct_answers == 3
    assert "the columns of x are, in this order: a, b, c, d" in finding.warnings


def test_a_python_model_is_published_as_an_object(publish, serve):
    finding = publish(Tripler(3))
    assert (finding.engine, finding.format) == ("pickle", "pickle")
    assert finding.signatures[DEFAULT_SIGNATURE].batched
    got = serve(finding).infer(DEFAULT_SIGNATURE, {"x": np.ones((1, 2), np.float32)})
    np.testing.assert_array_equal(got["y"], np.full((1, 2), 3.0))


def test_a_class_of_a_notebook_travels_by_value(publish, serve):
    namespace = {"__name__": "__main__", "PythonModel": PythonModel, "Float32": Float32}
    source = (
        "class Doubler(PythonModel):\n"
        "    def infer(self, x: Float32['n', 2]):\n"
        "        return {'y': 2 * x}\n"
    )
    exec(source, namespace)
    finding = publish(cloudpickle.dumps(namespace["Doubler"]()))
    got = serve(finding).infer(DEFAULT_SIGNATURE, {"x": np.ones((1, 2), np.float32)})
    np.testing.assert_array_equal(got["y"], np.full((1, 2), 2.0))


def test_a_class_of_a_notebook_that_stayed_there(publish):
    data = pickle.dumps(Nobody(), 2).replace(Nobody.__module__.encode(), b"__main__")
    said = refused(publish, data)
    assert said.startswith("churn.pkl needs 'Nobody', which was defined in the notebook or script")
    assert "add --code MODULE.py; or publish the object itself from the notebook" in said


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"a": 1}, "churn.pkl holds an object of type dict, not a model; expected a fitted"),
        (X, "churn.pkl holds an object of type ndarray, not a model"),
        (LogisticRegression, "holds the class LogisticRegression, not an object of it; fit one"),
        (LogisticRegression(), "the LogisticRegression is not fitted; fit it, save it"),
        (Nobody(), "churn.pkl holds an object of type Nobody, not a model"),
        (pickle.dumps(LogisticRegression())[:200], "the pickle is cut off or damaged"),
        (b"\x80\x04cnowhere_to_be_found.inner\nX\n.", "needs module 'nowhere_to_be_found': add"),
        (b"\x80\x04cstatsmodels.api\nOLS\n.", "not installed where the server runs: pip install"),
        (b"\x80\x04cmaas.core.errors\nNobody\n.", "churn.pkl could not be opened: AttributeErr"),
        (b"\x80\x04cbuiltins\nint\n\x8c\x01x\x85R.", "could not be opened: ValueError: invalid"),
        (b"\x80\x04csys\nexit\nK\x03\x85R.", "churn.pkl could not be opened: SystemExit: 3"),
    ],
    ids=[
        "dict",
        "array",
        "class",
        "unfitted",
        "own",
        "cut",
        "own module",
        "package",
        "attribute",
        "call",
        "exit",
    ],
)
def test_what_is_refused_says_what_it_is(publish, model, said):
    assert said in refused(publish, model)


def test_another_version_is_a_warning_with_both(publish):
    model = LogisticRegression(max_iter=500).fit(X, Y)
    here = sklearn.__version__
    data = pickle.dumps(model)
    at = data.rindex(here.encode())
    assert len(here) == 5
    finding = publish(data[:at] + b"0.9.9" + data[at + 5 :])
    assert finding.written_with == {"scikit-learn": "0.9.9"}
    assert any(
        warning.startswith(f"written with scikit-learn 0.9.9, read with {here}")
        for warning in finding.warnings
    )


def test_the_whole_way_through_the_child(published, canary):
    data = pickle.dumps(LogisticRegression(max_iter=500).fit(X, Y))
    with pytest.raises(MaasError, match=r"'m.pkl' is a pickle, which can run any code .*--trust"):
        published(data, "m.pkl")
    record, _ = published(data, "m.pkl", options=PublishOptions(trust=True))
    assert record.report.format == "pickle"
    assert record.report.lowered
