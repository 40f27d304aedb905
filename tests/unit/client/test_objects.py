from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from maas import PythonModel
from maas.client.objects import as_path
from maas.core.errors import ErrorKind, MaasError
from maas.core.reviewed import REVIEWED

X, Y = load_iris(return_X_y=True)
MODULES = {
    "own_helper": """
        import numpy as np

        def squash(x):
            return np.tanh(x)
    """,
    "own_features": """
        import own_helper
        from sklearn.base import BaseEstimator, TransformerMixin

        class Squash(TransformerMixin, BaseEstimator):
            def fit(self, X, y=None):
                self.n_features_in_ = X.shape[1]
                return self

            def transform(self, X):
                return own_helper.squash(X)
    """,
    "own_model": """
        from maas import Float32, PythonModel

        class Doubler(PythonModel):
            def infer(self, x: Float32["n", 4]) -> dict:
                return {"y": 2 * x}
    """,
    "own_models": """
        from maas import Float32, PythonModel

        class One(PythonModel):
            def infer(self, x: Float32["n"]) -> dict:
                return {"y": x}

        class Loaded(PythonModel):
            def load(self, folder):
                self.factor = 2

            def infer(self, x: Float32["n"]) -> dict:
                return {"y": self.factor * x}
    """,
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Modules of the publisher's own, in a folder that is on the import path."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(folder)
    yield {name: __import__(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


def elsewhere(file: Path, expression: str, *folders: Path) -> str:
    """Opens a pickle where the publisher's modules are not, and evaluates something on it."""
    program = f"""
import pickle, sys
import numpy as np
thing = pickle.load(open({str(file)!r}, "rb"))
print({expression})
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd="/",
        env={"PYTHONPATH": ":".join(str(folder) for folder in folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def refused(thing: Any, **options: bool) -> str:
    with (
        pytest.raises(MaasError) as caught,
        as_path(thing, "m", **{"trust": False, "code": False, **options}),
    ):
        pass
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize("trust", [False, True])
def test_an_estimator_of_reviewed_types_goes_as_skops(trust: bool) -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, Y)
    with as_path(pipeline, "鸢尾", trust=trust, code=False) as path:
        file = Path(path)
        assert file.name == "鸢尾.skops"
        opened = skops.io.load(file, trusted=list(REVIEWED))
    assert not file.exists()
    assert (opened.predict(X) == pipeline.predict(X)).all()


def test_a_path_stays_what_it_is(tmp_path: Path) -> None:
    for path in (tmp_path, str(tmp_path / "gone")):
        with as_path(path, "m", trust=False, code=False) as given:
            assert given is path


def test_own_classes_travel_by_value_and_only_with_trust(own: dict[str, ModuleType]) -> None:
    squash = own["own_features"].Squash()
    pipeline = make_pipeline(squash, LogisticRegression(max_iter=500)).fit(X, Y)
    message = refused(pipeline)
    assert "own_features.Squash" in message
    assert "trust=True" in message
    assert "sandbox" in message
    with as_path(pipeline, "m", trust=True, code=False) as path:
        answer = elsewhere(Path(path), "thing.predict([[5.1, 3.5, 1.4, 0.2]])")
    assert answer == "[0]"


def test_with_code_beside_it_a_pickle_names_its_modules(
    own: dict[str, ModuleType], tmp_path: Path
) -> None:
    pipeline = make_pipeline(own["own_features"].Squash(), LogisticRegression(max_iter=500))
    with as_path(pipeline.fit(X, Y), "m", trust=True, code=True) as path:
        assert "own_features" in elsewhere(Path(path), "1")
        answer = elsewhere(Path(path), "thing.predict(np.ones((1, 4)))", tmp_path / "project")
    assert answer.startswith("[")


def test_a_lambda_travels_with_trust() -> None:
    pipeline = make_pipeline(FunctionTransformer(lambda x: x + 1), StandardScaler()).fit(X)
    assert "<lambda>" in refused(pipeline)
    with as_path(pipeline, "m", trust=True, code=False) as path:
        assert elsewhere(Path(path), "thing.transform(np.ones((1, 4))).shape") == "(1, 4)"


def test_what_cannot_be_pickled_says_why() -> None:
    holding = FunctionTransformer(kw_args={"lock": threading.Lock()}).fit(X)
    message = refused(holding, trust=True)
    assert "cannot be pickled" in message
    assert "lock" in message


def test_a_model_of_its_own_file_goes_as_its_source(own: dict[str, ModuleType]) -> None:
    doubler = own["own_model"].Doubler
    assert "trust=True" in refused(doubler)
    for given in (doubler, doubler()):
        with as_path(given, "m", trust=True, code=False) as path:
            assert Path(path).name == "own_model.py"


def test_a_model_that_holds_something_goes_with_it(own: dict[str, ModuleType]) -> None:
    doubler = own["own_model"].Doubler()
    doubler.words = ["a", "b"]
    with as_path(doubler, "m", trust=True, code=False) as path:
        assert Path(path).name == "m.pkl"
        assert elsewhere(Path(path), "thing.words, thing.infer(np.ones(2))") == (
            "['a', 'b'] {'y': array([2., 2.])}"
        )


def test_a_model_among_others_goes_by_value(own: dict[str, ModuleType]) -> None:
    with as_path(own["own_models"].One, "m", trust=True, code=False) as path:
        assert elsewhere(Path(path), "thing.infer(1)") == "{'y': 1}"
    message = refused(own["own_models"].Loaded, trust=True)
    assert "load method" in message
    assert ".py file" in message
    loaded = own["own_models"].Loaded()
    loaded.load(Path())
    with as_path(loaded, "m", trust=True, code=False) as path:
        assert elsewhere(Path(path), "thing.infer(3)") == "{'y': 6}"


def test_a_keras_like_model_is_saved_as_keras_saves_it(tmp_path: Path) -> None:
    saved: list[Path] = []
    module = ModuleType("keras")
    base = type("Model", (), {"__module__": "keras", "save": lambda self, file: saved.append(file)})
    module.Model = base
    with as_path(base(), "clf", trust=False, code=False) as path:
        assert saved == [path]
        assert Path(path).name == "clf.keras"


class Torchlike:
    __module__ = "torch.nn"

    def predict(self) -> None: ...


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (PythonModel, "derives from it"),
        (LogisticRegression, "publish a fitted object"),
        (Torchlike(), "torch.onnx.export"),
        (DBSCAN().fit(np.eye(2)), "a DBSCAN has neither predict nor transform"),
        ({"a": 1}, "a dict cannot be published"),
        (np.eye(2), "a ndarray cannot be published"),
        (None, "cannot be published"),
    ],
)
def test_what_is_no_model(thing: Any, words: str) -> None:
    assert words in refused(thing, trust=True)


def test_nothing_stays_registered(own: dict[str, ModuleType]) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    pipeline = make_pipeline(own["own_features"].Squash()).fit(X)
    with as_path(pipeline, "m", trust=True, code=False):
        pass
    assert not set(cloudpickle.list_registry_pickle_by_value()) & set(MODULES)
