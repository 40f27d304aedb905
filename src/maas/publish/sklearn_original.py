"""A fitted estimator as published, asked on samples: right by definition."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors
from maas.publish.batch import take
from maas.publish.compare import ATOL, RTOL, compare
from maas.publish.messages import Job
from maas.publish.sklearn_samples import Samples, draw_samples, given_samples
from maas.publish.sklearn_signature import sklearn_signature
from maas.runtimes.estimator import (
    Layout,
    answer,
    as_tensor,
    by_position,
    is_stock,
    kind_of,
    outputs_of,
    rows_for,
)
from maas.runtimes.wording import one_sentence

ROUNDED_ROWS = 0.01
"""Share of rows whose answers may change when inputs are rounded to float32 before the model is
served with float64 inputs instead."""


class Original(Struct, frozen=True):
    """The estimator as published, and its answers to the samples: right by definition."""

    estimator: Any
    layout: Layout
    samples: Samples
    answers: dict[str, np.ndarray]
    signature: Signature
    needs_double: bool

    def as_served(self) -> dict[str, np.ndarray]:
        """Its answers in the dtypes of the signature."""
        return {s.name: as_tensor(self.answers[s.name], s) for s in self.signature.outputs}


def ask_original(estimator: Any, layout: Layout, job: Job) -> Original:
    """Finds out what the estimator takes and gives, on samples.

    Raises:
        MaasError: where it is not fitted, or answers none of them.
    """
    names = outputs_of(estimator)
    _check_fitted(estimator)
    if layout.kind != "frame":
        by_position(estimator)
    if job.sample:
        samples = given_samples(Path(job.sample), job.sample_name, layout, job.samples)
    else:
        samples = draw_samples(estimator, layout, job.samples)
    rows, answers = _answers(estimator, names, layout, samples)
    samples = samples.only(rows)
    double = _needs_double(estimator, names, layout, samples, answers)
    if double:
        samples = samples.exactly()
        _, answers = _answers(estimator, names, layout, samples)
    number = DType.FP64 if double else DType.FP32
    signature = sklearn_signature(estimator, layout, answers, number)
    return Original(estimator, layout, samples, answers, signature, double)


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not is_stock(estimator):
        return  # its own class may keep what it learnt under any name; running it will tell
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        kind = type(estimator).__name__
        raise invalid(f"the {kind} is not fitted; fit it, save it and publish it again") from error


def _answers(
    estimator: Any, names: tuple[str, ...], layout: Layout, samples: Samples
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The rows that the estimator answers, and its answers to them.

    Raises:
        MaasError: INVALID_ARGUMENT where it answers none, or not every given one.
    """

    def ask(inputs: Tensors) -> dict[str, np.ndarray]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return answer(estimator, names, rows_for(layout, inputs))

    count = samples.count
    try:
        return np.arange(count), ask(samples.inputs)
    except Exception as error:
        reason = one_sentence(error)
        if samples.source == "given":
            raise invalid(f"the model does not answer the given sample: {reason}") from error
    # A drawn row may be one that this model refuses, such as the logarithm of a negative number.
    kept = []
    for row in range(count):
        try:
            ask(take(samples.inputs, slice(row, row + 1)))
        except Exception as error:  # noqa: BLE001  (an estimator may raise anything)
            reason = one_sentence(error)
        else:
            kept.append(row)
    if len(kept) < 2:
        raise invalid(
            f"the model answers none of the rows drawn for it ({reason}); "
            "publish it with --sample and a few rows that it does answer"
        )
    rows = np.array(kept)
    return rows, ask(take(samples.inputs, rows))


def _needs_double(
    estimator: Any,
    names: tuple[str, ...],
    layout: Layout,
    samples: Samples,
    answers: Tensors,
) -> bool:
    """Whether rounding the inputs to float32 changes the answers."""
    exact = samples.exactly()
    if layout.kind in ("text", "words"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            unrounded = answer(estimator, names, rows_for(layout, exact.inputs))
    except Exception:  # noqa: BLE001  (an estimator may raise anything; rounded rows it answers)
        return False
    difference = compare(unrounded, answers, undecided(estimator, layout, exact))
    return difference.wrong > ROUNDED_ROWS * difference.rows


def undecided(estimator: Any, layout: Layout, samples: Samples) -> np.ndarray:
    """Rows [n] where the estimator's two best labels are within tolerance of each other."""
    torn = np.zeros(samples.count, dtype=bool)
    methods = ["predict_proba", "decision_function"]
    if kind_of(estimator) == "clusterer":
        methods.append("transform")  # distances to the centres
    for method in methods:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores = getattr(estimator, method)(rows_for(layout, samples.inputs))
            scores = np.asarray(scores, dtype=np.float64)
        except (AttributeError, ValueError, TypeError):
            continue  # it has no such scores
        if scores.ndim == 1:
            torn |= np.abs(scores) <= 2 * ATOL + RTOL
        elif scores.ndim == 2 and scores.shape[1] > 1:
            best = np.sort(scores if method == "transform" else -scores, axis=1)
            slack = 2 * (ATOL + RTOL * np.abs(best[:, 0]))
            torn |= np.abs(best[:, 1] - best[:, 0]) <= slack
    return torn
