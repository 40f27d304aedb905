"""Pickles as the worker loads them."""

from __future__ import annotations

import pickle
from pathlib import Path

import joblib
import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.estimator import Layout
from maas.runtimes.pickled import in_one_job, is_joblib, open_pickle
from maas.runtimes.plugins import runtime_for

X, Y = load_iris(return_X_y=True)
SIGNATURE = Signature(
    DEFAULT_SIGNATURE,
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (TensorSpec("label", DType.INT64, (None,)),),
    batched=True,
)


@pytest.fixture
def load(tmp_path):
    def run(model):
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
        layout = msgspec.json.encode(Layout("numbers", 4))
        (tmp_path / "layout.json").write_bytes(layout)
        signatures = {DEFAULT_SIGNATURE: SIGNATURE}
        artifact = Artifact(str(tmp_path), "model.pkl", "pickle", signatures)
        return runtime_for("pickle").load(artifact, Device())

    return run


class Refuses:
    """A model whose answers are errors."""

    n_features_in_ = 4

    def predict(self, rows):
        if rows[0, 0] > 1:
            raise ValueError("too large, see /home/me/notes.txt")
        raise RuntimeError("it is broken")


def test_it_is_a_confined_plugin_of_its_own_host():
    runtime = runtime_for("pickle")
    assert (runtime.name, runtime.host, runtime.confined) == ("pickle", "dedicated", True)


def test_an_estimator_answers(load):
    forest = RandomForestClassifier(5, n_jobs=-1, random_state=0).fit(X, Y)
    servable = load(forest)
    got = servable.infer(DEFAULT_SIGNATURE, {"x": X.astype(np.float32)})
    np.testing.assert_array_equal(got["label"], forest.predict(X))
    servable.close()


def test_a_class_of_ones_own_that_refuses(load):
    servable = load(Refuses())
    with pytest.raises(MaasError, match=r"the model refused these values: too large, see …$") as e:
        servable.infer(DEFAULT_SIGNATURE, {"x": np.full((1, 4), 2, np.float32)})
    assert e.value.kind is ErrorKind.INVALID_ARGUMENT
    with pytest.raises(MaasError, match="the model failed: it is broken") as e:
        servable.infer(DEFAULT_SIGNATURE, {"x": np.zeros((1, 4), np.float32)})
    assert e.value.kind is ErrorKind.INTERNAL


def test_no_part_makes_processes_of_its_own():
    forest = RandomForestClassifier(3, n_jobs=-1)
    votes = VotingClassifier([("f", forest), ("l", LogisticRegression(max_iter=500))], n_jobs=2)
    search = GridSearchCV(make_pipeline(votes), {}, n_jobs=4, cv=2).fit(X, Y)
    found = in_one_job(search)
    inner = found.best_estimator_[-1]
    jobs = [found, inner, inner.estimators_[0], *inner.estimators_[0].estimators_]
    assert [part.n_jobs for part in jobs if hasattr(part, "n_jobs")] == [None] * 3
    np.testing.assert_array_equal(found.predict(X), search.predict(X))


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 1), ("lzma", 1)])
def test_joblib_files_are_told_from_plain_pickles(tmp_path, compress):
    file = tmp_path / "m"
    joblib.dump({"array": X}, file, compress=compress)
    assert is_joblib(file)
    np.testing.assert_array_equal(open_pickle(file, "m")["array"], X)
    file.write_bytes(pickle.dumps({"array": X}))
    assert not is_joblib(file)
    np.testing.assert_array_equal(open_pickle(file, "m")["array"], X)
    file.write_bytes(b"")
    assert not is_joblib(file)


def test_what_cannot_be_opened_is_one_sentence(tmp_path):
    file = tmp_path / "m.pkl"
    for data in (b"", b"\x80\x04", b"\x80\x04N", pickle.dumps(X)[:90]):
        file.write_bytes(data)
        with pytest.raises(MaasError, match=r"m.pkl could not be opened: ") as caught:
            open_pickle(file, "m.pkl")
        assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
        assert str(tmp_path) not in caught.value.message


def test_the_estimate_grows_with_the_files(tmp_path):
    (tmp_path / "model.pkl").write_bytes(bytes(1 << 20))
    artifact = Artifact(str(tmp_path), "model.pkl", "pickle", {})
    assert runtime_for("pickle").estimate(artifact).memory_bytes == (256 + 8) << 20
    assert Path(artifact.path).is_dir()
