from __future__ import annotations

import functools
import importlib
import json
import operator
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer

from maas.core.errors import ErrorKind, MaasError
from maas.core.reviewed import REVIEWED
from maas.runtimes.skops_types import load_skops, untrusted_types


class Own(BaseEstimator):
    """A type that nobody has reviewed."""

    def predict(self, x):
        return x


def doubled(x):
    return x * 2


def refused(file) -> str:
    with pytest.raises(MaasError) as caught:
        load_skops(file)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert str(file) not in caught.value.message
    return caught.value.message


def test_reviewed_types_exist_and_are_types():
    missing = []
    for name in REVIEWED:
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute, None)
        if found is None:
            missing.append(name)
        else:
            assert isinstance(found, type), f"{name} is a function; functions are not reviewed"
    # A type that only newer versions have may be missing from an older one.
    assert set(missing) <= {"sklearn.calibration._TemperatureScaling"}


@pytest.mark.parametrize(
    "value",
    [
        Own(),
        FunctionTransformer(doubled),
        FunctionTransformer(functools.partial(np.add, 1)),
        FunctionTransformer(operator.methodcaller("mean")),
        FunctionTransformer(Own().predict),
        FunctionTransformer(np.save),
    ],
    ids=["class", "function", "partial", "methodcaller", "method", "numpy"],
)
def test_unknown_types_are_named(tmp_path, value):
    file = tmp_path / "m.skops"
    skops.io.dump(value, file)
    unknown = untrusted_types(file)
    assert unknown
    message = refused(file)
    assert "not on the list of reviewed ones" in message
    assert unknown[0] in message


def test_a_search_over_parameters_with_the_estimators_own_score(tmp_path):
    rows = np.random.default_rng(0).standard_normal((30, 2))
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2).fit(rows, rows[:, 0] > 0)
    skops.io.dump(search, tmp_path / "search.skops")
    loaded = load_skops(tmp_path / "search.skops")
    np.testing.assert_array_equal(loaded.predict(rows), search.predict(rows))


def test_a_ufunc_and_a_sound_estimator_load(tmp_path):
    file = tmp_path / "m.skops"
    skops.io.dump(FunctionTransformer(np.log1p), file)
    assert load_skops(file).func is np.log1p
    skops.io.dump(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), file)
    assert load_skops(file).predict([[2.0]]).tolist() == pytest.approx([5.0])


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen")]
)
def test_a_schema_that_names_a_function_to_call(tmp_path, module, name):
    file = tmp_path / "m.skops"
    node = {
        "__class__": name,
        "__module__": module,
        "__loader__": "ConstructorFromReduceNode",
        "content": {
            "__class__": "tuple",
            "__module__": "builtins",
            "__loader__": "TupleNode",
            "content": [
                {
                    "__class__": "str",
                    "__module__": "builtins",
                    "__loader__": "JsonNode",
                    "content": json.dumps(f"touch {tmp_path}/canary"),
                }
            ],
        },
        "protocol": 2,
        "_skops_version": "0.16",
    }
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", json.dumps(node))
    assert f"{module}.{name}" in refused(file)
    assert not (tmp_path / "canary").exists()


def test_a_schema_that_refers_to_itself(tmp_path):
    file = tmp_path / "m.skops"
    inner = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "__id__": 1}
    node = {**inner, "content": [{**inner, "content": []}], "protocol": 2, "_skops_version": "1"}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", json.dumps(node))
    assert "skops cannot" in refused(file)


def test_nonsense(tmp_path):
    file = tmp_path / "m.skops"
    file.write_bytes(b"PK\x03\x04")
    assert "skops cannot read the file" in refused(file)
