"""LightGBM's own text file, for what cannot be lowered; sandboxed: its reader trusts indices."""

from __future__ import annotations

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


class LightGBMRuntime:
    """Serves `lightgbm` artifacts with LightGBM, in the sandbox for life."""

    name = "lightgbm"
    platform = "lightgbm"
    formats = frozenset({"lightgbm"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """See `booster_resources`."""
        return booster_resources(artifact)

    def load(self, artifact: Artifact, device: Device) -> BoosterServable:
        """Opens the booster.

        Raises:
            MaasError: FAILED_PRECONDITION where it cannot be loaded, or without LightGBM.
        """
        return load_booster(artifact, device, open_lightgbm)


class LightGBMModel:
    """A `BoosterModel` of LightGBM's.

    Args:
        booster: a `lightgbm.Booster`.
        objective: as its file says, with its parameters: `binary sigmoid:1`.
        threads: of one call.
    """

    library = "LightGBM"

    def __init__(self, booster: Any, objective: str, threads: int):
        self.booster = booster
        self.objective = objective
        self._threads = threads
        self.width = int(booster.num_feature())
        names = tuple(str(name) for name in booster.feature_name())
        given = names != tuple(f"Column_{i}" for i in range(self.width))
        self.names = names if given else ()
        infos = header_of(booster)["feature_infos"].split(" ")
        # A range stands in brackets, "none" for what is not used, else categories.
        self.categorical = tuple(i for i, info in enumerate(infos) if info[:1] not in ("[", "n"))
        kind = objective.partition(" ")[0]
        self.classes = 2 if kind == "binary" else 0
        if kind in ("multiclass", "multiclassova"):
            self.classes = int(booster.num_model_per_iteration())

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities [n, classes], or predictions; see `BoosterModel`.

        Raises:
            ValueError: with LightGBM's reason.
        """
        import lightgbm

        try:
            scores = np.asarray(
                self.booster.predict(
                    np.ascontiguousarray(rows, np.float64), num_threads=self._threads
                )
            )
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(str(error)) from error
        if self.classes == 2 and scores.ndim == 1:
            return np.stack([1 - scores, scores], axis=1)
        return scores


def open_lightgbm(file: Path, threads: int = 1) -> LightGBMModel:
    """Opens a file of `Booster.save_model`.

    Args:
        file: LightGBM's text.
        threads: of one call.

    Raises:
        MaasError: INVALID_ARGUMENT with LightGBM's reason, FAILED_PRECONDITION without LightGBM.
    """
    lightgbm = import_lightgbm()
    try:
        text = file.read_text(encoding="utf-8")
        return model_of(lightgbm.Booster(model_str=text), threads)
    except (lightgbm.basic.LightGBMError, ValueError, TypeError, LookupError, OSError) as error:
        raise invalid(
            f"LightGBM cannot read the model: {one_sentence(error)}; save it again with "
            "booster.save_model('model.txt')"
        ) from error


def model_of(booster: Any, threads: int = 1) -> LightGBMModel:
    """A booster that is loaded already."""
    return LightGBMModel(booster, header_of(booster).get("objective", ""), threads)


def header_of(booster: Any) -> dict[str, str]:
    """The lines at the top of its file, before the trees."""
    text = booster.model_to_string(num_iteration=1)
    lines = text.partition("\n\n")[0].splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def import_lightgbm() -> Any:
    """Imports LightGBM.

    Raises:
        MaasError: FAILED_PRECONDITION where it is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise missing_extra("LightGBM", "lightgbm") from error
    except OSError as error:  # its library wants the system's OpenMP
        raise missing_extra(
            f"LightGBM cannot be loaded ({one_sentence(error)}), or", "lightgbm"
        ) from error
    return lightgbm
