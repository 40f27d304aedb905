"""What people really fit: the estimators and pipelines that publishing is tried on.

Each is a function that gives a fitted estimator and a few of the rows it was fitted on. The tests
publish every one as a pickle and as a skops file; `docs/lowering.md` is made of the outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    linear_model,
    mixture,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import FeatureUnion, make_pipeline

Fitted = tuple[Any, Any]

IRIS, SPECIES = load_iris(return_X_y=True)
WINE, CULTIVAR = load_wine(return_X_y=True)
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)
PRICES = WINE[:, -1] * 3.0 + WINE[:, 0]
GAPS = WINE.copy()
GAPS[::7, 1] = np.nan
GAPS[3::11, -1] = np.nan

TEXTS = [
    "good film, very nice acting",
    "bad film, awful plot",
    "nice story and good music",
    "awful plot and bad sound",
    "服务很好 态度不错",
    "服务很差 等了很久",
    "很好吃 下次再来",
    "很难吃 不会再来",
] * 8
MOODS = np.array(["good", "bad"] * 32)


class SquareRoots(TransformerMixin, BaseEstimator):
    """Somebody's own transformer: square roots beside the values."""

    def fit(self, rows: np.ndarray, y: Any = None) -> SquareRoots:
        """Learns how many columns there are."""
        self.n_features_in_ = np.asarray(rows).shape[1]
        return self

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Gives twice as many columns."""
        return np.hstack([rows, np.sqrt(np.abs(rows))])


def people() -> tuple[pd.DataFrame, np.ndarray]:
    """A table of mixed types with gaps, and whether each stayed: bool."""
    rng = np.random.default_rng(7)
    n = 240
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n).astype(float),
            "income": rng.lognormal(10, 0.5, n).round(2),
            "city": rng.choice(["上海", "Berlin", "Lagos", "São Paulo"], n),
            "plan": rng.choice(["basic", "plus", "pro"], n, p=[0.6, 0.3, 0.1]),
        }
    )
    table.loc[::8, "age"] = np.nan
    stayed = (table["plan"] != "basic") ^ (table["income"] > 25_000)
    return table, stayed.to_numpy()


def _table(last: Any, words: Any = None) -> Fitted:
    """A column transformer over the mixed table, and an estimator after it."""
    rows, stayed = people()
    numbers = make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    columns = compose.ColumnTransformer(
        [
            ("numbers", numbers, ["age", "income"]),
            (
                "words",
                words or preprocessing.OneHotEncoder(handle_unknown="ignore"),
                ["city", "plan"],
            ),
        ]
    )
    return make_pipeline(columns, last).fit(rows, stayed), rows


def _words(encoder: Any) -> Fitted:
    """An encoder of categories, and a classifier after it."""
    rows, stayed = people()
    matrix = rows[["city", "plan"]].to_numpy(dtype=object)
    return make_pipeline(encoder, linear_model.LogisticRegression()).fit(matrix, stayed), matrix


def _texts(vectoriser: Any, last: Any = None) -> Fitted:
    last = last or linear_model.LogisticRegression()
    return make_pipeline(vectoriser, last).fit(TEXTS, MOODS), TEXTS


def _iris(estimator: Any) -> Fitted:
    return estimator.fit(IRIS, SPECIES), IRIS


def _wine(estimator: Any) -> Fitted:
    return estimator.fit(WINE, CULTIVAR), WINE


def _price(estimator: Any) -> Fitted:
    return estimator.fit(WINE, PRICES), WINE


def _progress(estimator: Any) -> Fitted:
    return estimator.fit(PATIENTS, PROGRESS), PATIENTS


def _gaps(estimator: Any) -> Fitted:
    return estimator.fit(GAPS, CULTIVAR), GAPS


def _scaled(estimator: Any) -> Any:
    return make_pipeline(preprocessing.StandardScaler(), estimator)


def _gaps_by_category() -> Fitted:
    rng = np.random.default_rng(3)
    rows = np.c_[rng.integers(0, 6, 300), rng.normal(0, 5, (300, 2))]
    rows[::9, 1] = np.nan
    answers = (rows[:, 0] % 2 == 0) ^ (np.nan_to_num(rows[:, 1]) > 0)
    model = ensemble.HistGradientBoostingClassifier(
        max_iter=20, categorical_features=[0], random_state=0
    )
    return model.fit(rows, answers), rows


def _two_targets() -> Fitted:
    both = np.c_[PRICES, -PRICES / 2]
    return multioutput.MultiOutputRegressor(linear_model.Ridge()).fit(WINE, both), WINE


def _two_labels() -> Fitted:
    both = np.c_[CULTIVAR == 0, WINE[:, 0] > 13].astype(int)
    forest = ensemble.RandomForestClassifier(10, random_state=0)
    return multioutput.MultiOutputClassifier(forest).fit(WINE, both), WINE


def _isotonic() -> Fitted:
    rows = PATIENTS[:, 2]
    return isotonic.IsotonicRegression(out_of_bounds="clip").fit(rows, PROGRESS), rows[:, None]


def _stack() -> Any:
    return ensemble.StackingClassifier(
        [
            ("tree", tree.DecisionTreeClassifier(max_depth=4, random_state=0)),
            ("linear", _scaled(linear_model.LogisticRegression())),
        ],
        final_estimator=linear_model.LogisticRegression(),
    )


def _votes() -> Any:
    return ensemble.VotingClassifier(
        [
            ("forest", ensemble.RandomForestClassifier(10, random_state=0)),
            ("bayes", naive_bayes.GaussianNB()),
        ],
        voting="soft",
    )


ESTIMATORS: dict[str, Callable[[], Fitted]] = {
    "logistic regression, scaled": lambda: _wine(_scaled(linear_model.LogisticRegression())),
    "ridge": lambda: _progress(linear_model.Ridge()),
    "lasso with polynomial features": lambda: _progress(
        make_pipeline(preprocessing.PolynomialFeatures(2), linear_model.Lasso(0.1))
    ),
    "stochastic gradient descent": lambda: _iris(
        _scaled(linear_model.SGDClassifier(loss="log_loss", random_state=0))
    ),
    "Gaussian naive Bayes": lambda: _wine(naive_bayes.GaussianNB()),
    "linear discriminant, scaled": lambda: _wine(
        _scaled(discriminant_analysis.LinearDiscriminantAnalysis())
    ),
    "decision tree, not scaled": lambda: _wine(tree.DecisionTreeClassifier(random_state=0)),
    "random forest, not scaled": lambda: _wine(ensemble.RandomForestClassifier(30, random_state=0)),
    "random forest regression": lambda: _price(ensemble.RandomForestRegressor(20, random_state=0)),
    "extra trees": lambda: _wine(ensemble.ExtraTreesClassifier(20, random_state=0)),
    "gradient boosting": lambda: _wine(
        ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0)
    ),
    "AdaBoost": lambda: _wine(ensemble.AdaBoostClassifier(n_estimators=10, random_state=0)),
    "bagging": lambda: _wine(ensemble.BaggingClassifier(n_estimators=5, random_state=0)),
    "histogram gradient boosting, gaps": lambda: _gaps(
        ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0)
    ),
    "histogram gradient boosting, categories and gaps": _gaps_by_category,
    "histogram gradient boosting regression": lambda: _price(
        ensemble.HistGradientBoostingRegressor(max_iter=10, random_state=0)
    ),
    "imputer and forest, gaps": lambda: _gaps(
        make_pipeline(
            impute.SimpleImputer(strategy="median"),
            ensemble.RandomForestClassifier(10, random_state=0),
        )
    ),
    "neighbour imputer, gaps": lambda: _gaps(
        make_pipeline(impute.KNNImputer(), _scaled(linear_model.LogisticRegression()))
    ),
    "support vectors, radial": lambda: _wine(_scaled(svm.SVC())),
    "support vectors, probabilities": lambda: _iris(
        calibration.CalibratedClassifierCV(_scaled(svm.SVC()), ensemble=False)
    ),
    "support vector regression": lambda: _progress(svm.SVR(C=100)),
    "linear support vectors, calibrated": lambda: _wine(
        calibration.CalibratedClassifierCV(_scaled(svm.LinearSVC()))
    ),
    "calibrated forest, isotonic": lambda: _wine(
        calibration.CalibratedClassifierCV(
            ensemble.RandomForestClassifier(10, random_state=0), method="isotonic", cv=3
        )
    ),
    "nearest neighbours": lambda: _iris(neighbors.KNeighborsClassifier()),
    "nearest neighbours regression": lambda: _progress(
        neighbors.KNeighborsRegressor(weights="distance")
    ),
    "nearest centroid": lambda: _iris(neighbors.NearestCentroid()),
    "isotonic regression": _isotonic,
    "Gaussian process": lambda: _iris(gaussian_process.GaussianProcessClassifier()),
    "Gaussian process regression": lambda: (
        gaussian_process.GaussianProcessRegressor(
            gaussian_process.kernels.RBF(0.1, "fixed"), alpha=0.1, normalize_y=True
        ).fit(PATIENTS[:80], PROGRESS[:80]),
        PATIENTS[:80],
    ),
    "neural network": lambda: _wine(
        _scaled(neural_network.MLPClassifier((16,), max_iter=2000, random_state=0))
    ),
    "stacking": lambda: _wine(_stack()),
    "voting, soft": lambda: _wine(_votes()),
    "several targets": _two_targets,
    "several labels": _two_labels,
    "principal components": lambda: _wine(_scaled(decomposition.PCA(3))),
    "k-means": lambda: _iris(cluster.KMeans(3, random_state=0)),
    "Gaussian mixture": lambda: _iris(mixture.GaussianMixture(3, random_state=0)),
    "isolation forest": lambda: _wine(ensemble.IsolationForest(n_estimators=20, random_state=0)),
    "bins and feature selection": lambda: _wine(
        make_pipeline(
            preprocessing.KBinsDiscretizer(4, encode="ordinal", quantile_method="linear"),
            feature_selection.SelectKBest(k=5),
            naive_bayes.MultinomialNB(),
        )
    ),
    "TF-IDF of characters": lambda: _texts(
        TfidfVectorizer(analyzer="char", lowercase=False, ngram_range=(1, 2))
    ),
    "TF-IDF of characters, lower case": lambda: _texts(TfidfVectorizer(analyzer="char")),
    "TF-IDF of words": lambda: _texts(TfidfVectorizer()),
    "TF-IDF of characters in words": lambda: _texts(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3))
    ),
    "counts of words, naive Bayes": lambda: _texts(CountVectorizer(), naive_bayes.MultinomialNB()),
    "hashed words": lambda: _texts(HashingVectorizer(n_features=256)),
    "words and characters together": lambda: _texts(
        FeatureUnion(
            [("words", TfidfVectorizer()), ("characters", TfidfVectorizer(analyzer="char"))]
        )
    ),
    "one-hot encoder": lambda: _words(preprocessing.OneHotEncoder(handle_unknown="ignore")),
    "ordinal encoder": lambda: _words(
        preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    ),
    "target encoder": lambda: _words(preprocessing.TargetEncoder(cv=StratifiedKFold(3))),
    "mixed table, logistic regression": lambda: _table(linear_model.LogisticRegression()),
    "mixed table, ordinal and boosting": lambda: _table(
        ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
        preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ),
    "a transformer of one's own": lambda: _wine(
        make_pipeline(SquareRoots(), _scaled(linear_model.LogisticRegression()))
    ),
}
"""Name → a fitted estimator, and some of its rows."""
