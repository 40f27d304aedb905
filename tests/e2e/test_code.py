"""Models that carry code, from the file or the object to the answer, and whose key may do that."""

from __future__ import annotations

import pickle
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.server import Server

from maas import Client, PythonModel, Text
from maas.client import ApiError
from maas.core.errors import ErrorKind

FEATURES = """
    import numpy as np
    from sklearn.base import BaseEstimator, TransformerMixin

    class Log(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.n_features_in_ = X.shape[1]
            return self

        def transform(self, X):
            return np.log1p(np.abs(X))
"""
X = np.random.default_rng(0).normal(5, 3, (200, 3))
Y = (X[:, 0] > X[:, 1]).astype(int)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A publisher's folder: a module of their own, and a pickle that needs it."""
    (tmp_path / "own_log.py").write_text(textwrap.dedent(FEATURES))
    monkeypatch.syspath_prepend(tmp_path)
    import own_log

    fitted = make_pipeline(own_log.Log(), LogisticRegression()).fit(X, Y)
    (tmp_path / "churn.pkl").write_bytes(pickle.dumps(fitted))
    yield tmp_path
    sys.modules.pop("own_log", None)


@pytest.fixture
def client(usual: Server):
    with usual.client as client:
        yield client
        there = {model.name for model in client.models()}
        for name in there & {"churn", "mixed", "shout"}:
            client.delete(name)


def test_the_messages_lead_from_a_pickle_to_an_answer(usual: Server, folder, client: Client):
    flags = ["publish", str(folder / "churn.pkl"), "--name", "churn"]
    refused = usual.cli(*flags)
    assert refused.code == 1
    assert "--trust" in refused.err.splitlines()[-1]
    flags.append("--trust")
    refused = usual.cli(*flags)
    assert "add --code own_log.py" in refused.err.splitlines()[-1]
    done = usual.cli(*flags, "--code", str(folder / "own_log.py"))
    assert done.code == 0, done
    shown = usual.cli("show", "churn").out
    assert "published with --trust; served in the sandbox" in shown
    assert "sandbox  " in shown
    expected = pickle.loads((folder / "churn.pkl").read_bytes()).predict(X[:20])
    assert client.predict("churn", X[:20])["label"].tolist() == expected.tolist()
    again = usual.cli(*flags, "--code", str(folder / "own_log.py"))
    assert "already there" in again.out
    (folder / "own_log.py").write_text(textwrap.dedent(FEATURES) + "\nVERSION = 2\n")
    again = usual.cli(*flags, "--code", str(folder / "own_log.py"))
    assert "churn:2 published" in again.out


def test_an_estimator_fitted_on_a_table_takes_tables(client: Client):
    rows = pd.DataFrame({"age": X[:, 0], "debt": X[:, 1], "city": np.where(Y, "昆明", "Ulm")})
    columns = make_column_transformer(
        (StandardScaler(), ["age", "debt"]), (OneHotEncoder(), ["city"])
    )
    fitted = make_pipeline(columns, LogisticRegression()).fit(rows, Y)
    version = client.publish(fitted, "mixed", sample=rows)
    assert version.report.format == "skops"
    assert not version.report.trusted
    expected = fitted.predict(rows.head(30)).tolist()
    for table in (rows.head(30), rows.head(30)[["city", "debt", "age"]]):
        assert client.predict("mixed", table)["label"].tolist() == expected


class Shout(PythonModel):
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def infer(self, text: Text["n"]) -> dict:  # noqa: F821, UP037  # a size, not a name
        return {"loud": np.array([each.upper() + self.mark for each in text], dtype=object)}


def test_an_object_of_a_model_in_python(client: Client):
    version = client.publish(Shout("!"), "shout", trust=True)
    assert version.report.trusted
    assert version.report.confined
    assert client.predict("shout", ["a", "好"])["loud"].tolist() == ["A!", "好!"]


def test_operators_may_publish_code_and_publishers_may_not(usual: Server, folder, client: Client):
    publisher, operator = (client.create_key(role, role) for role in ("publisher", "operator"))
    try:
        with Client(usual.url, publisher.key) as theirs, pytest.raises(ApiError) as caught:
            theirs.publish(folder / "churn.pkl", "churn", trust=True, code=folder / "own_log.py")
        assert caught.value.kind is ErrorKind.PERMISSION_DENIED
        assert "owner or operator" in caught.value.message
        with Client(usual.url, operator.key) as theirs:
            version = theirs.publish(
                folder / "churn.pkl", "churn", trust=True, code=folder / "own_log.py"
            )
            assert version.created_by == "operator"
            with pytest.raises(ApiError):
                theirs.keys()
    finally:
        for made in (publisher, operator):
            client.revoke_key(made.record.id)
