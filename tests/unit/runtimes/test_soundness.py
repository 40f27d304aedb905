"""Crafted content that would make compiled code read or write out of bounds is refused."""

from __future__ import annotations

import numpy as np
import pytest
import skops.io
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.skops_types import load_skops
from maas.runtimes.soundness import make_sound

X, Y = load_iris(return_X_y=True)


def refused(model, said: str) -> None:
    with pytest.raises(MaasError, match=said) as caught:
        make_sound(model)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def with_nodes(tree, change):
    """The tree with its nodes changed, as a crafted file could have them."""
    state = tree.__getstate__()
    nodes = state["nodes"].copy()
    change(nodes)
    tree.__setstate__({**state, "nodes": nodes})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left_child", 10**9),
        ("right_child", -7),
        ("left_child", 0),
        ("feature", 4),
        ("feature", -9),
    ],
)
def test_decision_trees(field, value):
    model = DecisionTreeClassifier().fit(X, Y)
    with_nodes(model.tree_, lambda nodes: nodes[field].__setitem__(0, value))
    refused(model, "decision tree")


def test_a_forest_whose_tree_is_wider_than_itself():
    model = RandomForestClassifier(3).fit(X, Y)
    model.estimators_[1] = DecisionTreeClassifier().fit(np.c_[X, X], Y)
    refused(model, "forest")
    model = IsolationForest(n_estimators=3).fit(X)
    model.estimators_[1] = RandomForestClassifier(1).fit(np.c_[X, X], Y).estimators_[0]
    refused(model, "isolation tree")


def test_an_empty_tree(tmp_path):
    model = DecisionTreeClassifier().fit(X, Y)
    model.tree_ = type(model.tree_)(4, np.array([3]), 1)
    refused(model, "no nodes")


def test_gradient_boosting():
    model = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
    model.estimators_ = model.estimators_[:, :2]
    refused(model, "lacks a tree")
    model = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
    model.init_.class_prior_ = model.init_.class_prior_[:2]
    refused(model, "damaged")
    model = GradientBoostingClassifier(n_estimators=2, init=DecisionTreeClassifier()).fit(X, Y)
    refused(model, "estimator of one's own")


@pytest.mark.parametrize(("field", "value"), [("left", 10**6), ("right", 0), ("feature_idx", 99)])
def test_histogram_gradient_boosting(field, value):
    model = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    model._predictors[0][0].nodes[field][0] = value
    refused(model, "boosted tree")


def test_support_vector_machines():
    def fitted():
        return SVC().fit(X, Y)

    model = fitted()
    model._n_support = model._n_support + np.int32(1000)
    refused(model, "fit together")
    model = fitted()
    model._dual_coef_ = model._dual_coef_[:, :3]
    refused(model, "fit together")
    model = fitted()
    model.support_vectors_ = model.support_vectors_[:, :1]
    refused(model, "fit together")
    model = fitted()
    model._intercept_ = model._intercept_[:1]
    refused(model, "fit together")


def test_centres_and_vocabularies_and_encoders():
    model = KMeans(3).fit(X)
    model.cluster_centers_ = model.cluster_centers_[:, :1]
    refused(model, "cluster centres")
    model = CountVectorizer().fit(["one two"])
    model.vocabulary_["one"] = 10**9
    refused(model, "vocabulary")
    rows = np.array([["a"]] * 9 + [["b"]], dtype=object)
    model = OneHotEncoder(min_frequency=5).fit(rows)
    model._default_to_infrequent_mappings[0][0] = 10**6
    refused(model, "rare categories")


def test_sparse_matrices():
    model = LinearRegression().fit(X, Y)
    model.extra_ = sparse.csr_matrix(np.eye(3))
    model.extra_.indices[0] = 1000
    refused(model, "damaged")


def test_vectorisers_that_open_files():
    refused(CountVectorizer(input="filename"), "opens files of the server")


def test_neighbour_trees_are_rebuilt_from_their_points(tmp_path):
    model = KNeighborsClassifier(algorithm="kd_tree", p=1).fit(X, Y)
    expected = model.predict(X)
    state = list(model._tree.__getstate__())
    state[1] = np.full_like(state[1], 10**6)  # indices of points that do not exist
    model._tree.__setstate__(tuple(state))
    skops.io.dump(model, tmp_path / "m.skops")
    loaded = load_skops(tmp_path / "m.skops")
    np.testing.assert_array_equal(loaded.predict(X), expected)
    model._fit_X = model._fit_X[:, :2]
    refused(model, "neighbours")


def test_templates_that_are_not_fitted_are_left_alone():
    model = LinearRegression().fit(X, Y)
    model.template = SVC()
    assert make_sound(model) is model
