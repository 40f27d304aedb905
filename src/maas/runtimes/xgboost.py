"""XGBoost's own file, for what cannot be lowered; in the sandbox, since its reader trusts indices.

Source: XGBoost, "Introduction to Model IO": JSON, or the same as UBJSON, is the documented format.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maas.core.errors import invalid
from maas.core.ports import Artifact, Device, Resources
from maas.runtimes.boosters import (
    BoosterServable,
    booster_resources,
    load_booster,
    missing_extra,
)
from maas.runtimes.wording import one_sentence


class XGBoostRuntime:
    """Serves `xgboost` artifacts with XGBoost, in the sandbox for life."""

    name = "xgboost"
    platform = "xgboost"
    formats = frozenset({"xgboost"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """See `booster_resources`."""
        return booster_resources(artifact)

    def load(self, artifact: Artifact, device: Device) -> BoosterServable:
        """Opens the booster.

        Raises:
            MaasError: FAILED_PRECONDITION where it cannot be loaded, or without XGBoost.
        """
        return load_booster(artifact, device, open_xgboost)


class XGBoostModel:
    """A `BoosterModel` of XGBoost's.

    Args:
        booster: an `xgboost.Booster`.
        threads: of one call.
    """

    library = "XGBoost"

    def __init__(self, booster: Any, threads: int):
        self.booster = booster
        booster.set_param({"nthread": threads, "verbosity": 0})
        learner = json.loads(booster.save_config())["learner"]
        self.objective = str(learner["objective"]["name"])
        self.width = int(booster.num_features())
        self.names = tuple(booster.feature_names or ())
        self._types = booster.feature_types
        self.categorical = tuple(i for i, kind in enumerate(self._types or ()) if kind == "c")
        classes = int(learner["learner_model_param"]["num_class"])
        self.classes = 2 if self.objective == "binary:logistic" else classes
        self._threads = threads
        # XGBoost's estimators stop at the best iteration; its boosters use every tree.
        best = booster.attr("best_iteration") if booster.attr("scikit_learn") else None
        self.rounds = 0 if best is None else int(best) + 1

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities [n, classes], or predictions; see `BoosterModel`.

        Raises:
            ValueError: with XGBoost's reason (its errors are such).
        """
        import xgboost

        matrix = xgboost.DMatrix(
            np.ascontiguousarray(rows, np.float32),
            feature_types=self._types,
            enable_categorical=True,
            nthread=self._threads,
        )
        margin = self.objective == "multi:softmax"  # it answers the label alone otherwise
        scores = np.asarray(
            self.booster.predict(
                matrix,
                output_margin=margin,
                iteration_range=(0, self.rounds),
                validate_features=False,
                strict_shape=margin,
            )
        )
        if margin:
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        if self.classes == 2 and scores.ndim == 1:
            return np.stack([1 - scores, scores], axis=1)
        return scores


def open_xgboost(file: Path, threads: int = 1) -> XGBoostModel:
    """Opens a file of `Booster.save_model`.

    Args:
        file: JSON or UBJSON.
        threads: of one call.

    Raises:
        MaasError: INVALID_ARGUMENT with XGBoost's reason, FAILED_PRECONDITION without XGBoost.
    """
    xgboost = import_xgboost()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file of an older version: the report says so
            # Bytes are told apart by their content, files by their ending.
            booster = xgboost.Booster(model_file=bytearray(file.read_bytes()))
            return XGBoostModel(booster, threads)
    except (ValueError, TypeError, LookupError, OSError) as error:
        reason = one_sentence(str(error).strip().partition("\n\n")[0].partition("Stack trace")[0])
        raise invalid(
            f"XGBoost cannot read the model: {reason}; save it again with "
            "booster.save_model('model.json')"
        ) from error


def import_xgboost() -> Any:
    """Imports XGBoost.

    Raises:
        MaasError: FAILED_PRECONDITION where it is not installed.
    """
    try:
        import xgboost
    except ImportError as error:
        raise missing_extra("XGBoost", "xgboost") from error
    return xgboost
