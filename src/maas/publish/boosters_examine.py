"""Examines XGBoost's and LightGBM's own files. Runs in the child, since their readers trust them.

open with the library → an estimator around it → samples, lowering, proof as scikit-learn's
"""

from __future__ import annotations

import shutil
from pathlib import Path

from maas.core.errors import invalid
from maas.core.ports import Runtime
from maas.publish.boosters_scan import MOST_COLUMNS, scan_lightgbm, scan_xgboost
from maas.publish.messages import Emit, Finding, Job
from maas.publish.sklearn_examine import Native, examine_estimator
from maas.publish.sklearn_original import ask_original
from maas.runtimes.boosters import BoosterModel, missing_extra
from maas.runtimes.estimator import layout_of
from maas.runtimes.lightgbm import LightGBMRuntime, import_lightgbm, open_lightgbm
from maas.runtimes.xgboost import XGBoostModel, XGBoostRuntime, import_xgboost, open_xgboost

MOST_NAMED = 50
"""Columns that a warning names."""


def examine_xgboost(job: Job, emit: Emit) -> Finding:
    """Takes a JSON or UBJSON file of XGBoost's to what will be served.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "looking through it before XGBoost opens it", 0.1)
    _require_sklearn("xgboost")
    import_xgboost()
    written = scan_xgboost(Path(job.source))
    emit("inspect", "opening it with XGBoost", 0.2)
    model = open_xgboost(Path(job.source), 1)
    distributions = ("xgboost", "xgboost-cpu")
    warnings = _rounds(model)
    return _examine(model, XGBoostRuntime(), written, distributions, warnings, job, emit)


def examine_lightgbm(job: Job, emit: Emit) -> Finding:
    """Takes a text file of LightGBM's to what will be served.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "looking through it before LightGBM opens it", 0.1)
    _require_sklearn("lightgbm")
    import_lightgbm()
    scan_lightgbm(Path(job.source))
    emit("inspect", "opening it with LightGBM", 0.2)
    model = open_lightgbm(Path(job.source), 1)
    return _examine(model, LightGBMRuntime(), {}, ("lightgbm",), (), job, emit)


def _examine(
    model: BoosterModel,
    runtime: Runtime,
    written_with: dict[str, str],
    distributions: tuple[str, ...],
    warnings: tuple[str, ...],
    job: Job,
    emit: Emit,
) -> Finding:
    from maas.publish.boosters_estimator import estimator_of

    if not 1 <= model.width <= MOST_COLUMNS:
        raise invalid(
            f"the booster says that it takes {model.width} columns; expected 1 to {MOST_COLUMNS:,}"
        )
    entry = f"model.{runtime.name}"
    shutil.copyfile(job.source, Path(job.artifact) / entry)
    estimator = estimator_of(model)
    native = Native(
        runtime=runtime,
        entry=entry,
        files=(entry,),
        written_with=written_with,
        warnings=(*warnings, *_codes(model)),
        libraries=(*distributions, "onnxmltools"),
        title=model.library,
    )
    return examine_estimator(ask_original(estimator, layout_of(estimator), job), native, job, emit)


def _require_sklearn(extra: str) -> None:
    """Checks for what lowers a booster; the extra brings it.

    Raises:
        MaasError: FAILED_PRECONDITION, with the command that installs it.
    """
    try:
        import onnxmltools  # noqa: F401  (its import is the check)
        import skl2onnx  # noqa: F401
    except ImportError as error:
        raise missing_extra(f"{error.name}, which lowers a booster to ONNX,", extra) from error


def _rounds(model: XGBoostModel) -> tuple[str, ...]:
    """Which of XGBoost's two rules for early stopping is followed."""
    booster = model.booster
    best = getattr(booster, "attr", lambda _: None)("best_iteration")
    if best is None:
        return ()
    if model.rounds:
        return (f"it stops at its best iteration, {best}, as the estimator that saved it does",)
    return (
        f"it answers with every tree, as XGBoost's boosters do, not up to its best iteration, "
        f"{best}; to serve that, save booster[: {int(best) + 1}]",
    )


def _codes(model: BoosterModel) -> tuple[str, ...]:
    """What a caller must know of columns of categories."""
    if not model.categorical:
        return ()
    names = [
        repr(model.names[i])[:40] if model.names else str(i) for i in model.categorical[:MOST_NAMED]
    ]
    return (
        "these columns hold categories, to be sent as the codes that the model was trained on: "
        + ", ".join(names),
    )
