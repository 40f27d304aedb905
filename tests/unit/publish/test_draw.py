"""Drawn rows come from what a model has learnt, and reach more than one of its answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from maas.publish.draw_rows import draw_rows
from maas.publish.draw_text import draw_texts, draw_words

X, Y = load_iris(return_X_y=True)
FAR = X * 100 + 5000


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(max_iter=2000),
        make_pipeline(StandardScaler(), SVC()),
        make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=2000)),
        make_pipeline(StandardScaler(), DecisionTreeClassifier()),
        KNeighborsClassifier(),
        RandomForestClassifier(5),
        HistGradientBoostingClassifier(max_iter=3),
    ],
    ids=lambda model: str(model)[:30],
)
def test_every_class_is_reached_far_from_the_origin(model):
    model.fit(FAR, Y)
    rows = draw_rows(model, 4, 256)
    assert rows.shape == (256, 4)
    keep = ~np.isnan(rows).any(axis=1)
    assert set(model.predict(rows[keep])) == {0, 1, 2}


def test_rows_sit_on_both_sides_of_every_threshold():
    model = DecisionTreeClassifier(max_depth=1).fit(X, Y)
    feature, threshold = model.tree_.feature[0], np.float32(model.tree_.threshold[0])
    values = set(draw_rows(model, 4, 512)[:, feature].astype(np.float32).tolist())
    above = float(np.nextafter(threshold, np.float32(np.inf)))
    assert {float(threshold), above} <= values


def test_missing_values_only_where_they_are_taken():
    assert not np.isnan(draw_rows(LogisticRegression(max_iter=2000).fit(X, Y), 4, 256)).any()
    imputed = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=2000)).fit(X, Y)
    assert np.isnan(draw_rows(imputed, 4, 256)).any()


def test_the_same_seed_draws_the_same_rows():
    model = LogisticRegression(max_iter=2000).fit(X, Y)
    np.testing.assert_array_equal(draw_rows(model, 4, 64), draw_rows(model, 4, 64))


def test_texts_hold_known_and_unknown_words():
    model = TfidfVectorizer().fit(["alpha beta", "gamma delta"])
    texts = draw_texts(model, 300).tolist()
    assert len(texts) == 300
    assert "" in texts
    assert model.transform(texts).sum() > 0
    assert any("模型" in text for text in texts)
    assert len(set(draw_texts(HashingVectorizer(), 100).tolist())) > 50


def test_words_hold_unknown_ones_only_where_they_are_taken():
    rows = np.array([["a", "x"], ["b", "y"]], dtype=object)
    strict = draw_words(OneHotEncoder().fit(rows), 2, 200)
    assert {*strict[:, 0]} == {"a", "b"}
    assert {*strict[:, 1]} == {"x", "y"}
    lenient = draw_words(OneHotEncoder(handle_unknown="ignore").fit(rows), 2, 200)
    assert {*lenient[:, 0]} > {"a", "b"}
