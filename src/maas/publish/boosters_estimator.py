"""A booster as an estimator: so it goes the way of scikit-learn's, from samples to proof."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from maas.runtimes.boosters import BoosterModel, labels_of


class BoosterClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """A booster with classes; they are numbers from 0, since its file has no names for them."""

    def __init__(self, model: BoosterModel):
        self.model = model
        _describe(self, model)
        self.classes_ = np.arange(model.classes)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Labels: int64 [n]."""
        return labels_of(self.model.scores(rows))

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities [n, classes]."""
        return self.model.scores(rows)


class BoosterRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """A booster that predicts numbers or ranks."""

    def __init__(self, model: BoosterModel):
        self.model = model
        _describe(self, model)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Predictions [n] or [n, targets]."""
        return self.model.scores(rows)


def estimator_of(model: BoosterModel) -> BoosterClassifier | BoosterRegressor:
    """The estimator around a booster."""
    return BoosterClassifier(model) if model.classes else BoosterRegressor(model)


def _describe(estimator: BoosterClassifier | BoosterRegressor, model: BoosterModel) -> None:
    estimator.n_features_in_ = model.width
    if model.names:
        estimator.feature_names_in_ = np.array(model.names, dtype=object)
