"""Examines a skops file: scan, signature, lowering, proof, timing. Runs in the child."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.ports import Artifact, Device, Servable
from maas.core.records import EngineTiming, Parity
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, Tensors
from maas.publish.batch import prove_batched, take
from maas.publish.compare import ATOL, RTOL, Difference, compare, distinct_answers
from maas.publish.lower import NotLoweredError, lower
from maas.publish.messages import Emit, Finding, Job
from maas.publish.sklearn_samples import Samples, draw_samples, given_samples
from maas.publish.sklearn_signature import sklearn_signature
from maas.publish.skops_scan import scan_skops
from maas.publish.timing import BATCH, time_engine
from maas.publish.versions import read_with
from maas.runtimes.estimator import (
    Layout,
    answer,
    as_tensor,
    by_position,
    kind_of,
    layout_of,
    outputs_of,
    rows_for,
)
from maas.runtimes.onnx import OnnxRuntime
from maas.runtimes.sklearn import SklearnRuntime
from maas.runtimes.skops_types import load_skops
from maas.runtimes.wording import one_sentence

ROUNDED_ROWS = 0.01
"""Share of rows whose answers may change when inputs are rounded to float32 before the model is
served with float64 inputs instead."""

FAR_SLOWER = 3.0
"""An ONNX form this many times slower, for one row and for a batch, is not worth its lightness:
scikit-learn needs a process of its own, and has search trees where ONNX compares all points."""


class Original(Struct, frozen=True):
    """The estimator as published, and its answers to the samples: right by definition."""

    estimator: Any
    layout: Layout
    samples: Samples
    answers: dict[str, np.ndarray]
    signature: Signature
    needs_double: bool


class Chosen(Struct, frozen=True):
    """The form that will be served, and why."""

    engine: str
    lowered: bool
    reason: str
    parity: Parity | None

    @property
    def format(self) -> str:
        """Of the artifact."""
        return "onnx" if self.lowered else "skops"

    @property
    def entry(self) -> str:
        """The file in the artifact folder."""
        return f"model.{self.format}"


def examine_skops(job: Job, emit: Emit) -> Finding:
    """Takes a skops file to what will be served: ONNX where that is proven, else itself.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "looking through the archive", 0.1)
    file = Path(job.source)
    scan = scan_skops(file)

    emit("inspect", "opening it with skops", 0.2)
    estimator = load_skops(file)
    original = _ask(estimator, job)
    native = Path(job.artifact) / "model.skops"
    shutil.copyfile(file, native)

    chosen = _choose(original, job, emit)
    emit("time", "timing each engine", 0.8)
    timings, chosen = _race(original, chosen, job)
    if chosen.lowered:
        native.unlink()
    else:
        (Path(job.artifact) / "model.onnx").unlink(missing_ok=True)
    servable = _load(job, chosen, original.signature)
    proof = prove_batched(
        lambda rows: servable.infer(DEFAULT_SIGNATURE, rows), original.samples.inputs
    )
    servable.close()
    signature = msgspec.structs.replace(original.signature, batched=proof.batched)
    return Finding(
        engine=chosen.engine,
        format=chosen.format,
        entry=chosen.entry,
        signatures={DEFAULT_SIGNATURE: signature},
        lowered=chosen.lowered,
        reason=chosen.reason,
        written_with=scan.written_with,
        read_with=read_with("scikit-learn", "skops", "skl2onnx", "onnxruntime"),
        parity=chosen.parity,
        batch_note=proof.note,
        timings=timings,
        warnings=_warnings(original, scan.written_with),
    )


def _ask(estimator: Any, job: Job) -> Original:
    """Finds out what the estimator takes and gives, on samples.

    Raises:
        MaasError: where it is no fitted estimator, or answers none of them.
    """
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(estimator, BaseEstimator):
        raise invalid(
            f"the file holds a {type(estimator).__name__}, not an estimator; "
            "save the fitted estimator or pipeline itself"
        )
    names = outputs_of(estimator)
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        kind = type(estimator).__name__
        raise invalid(f"the {kind} is not fitted; fit it, save it and publish it again") from error
    layout = layout_of(estimator)
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
    difference = compare(unrounded, answers, _undecided(estimator, layout, exact))
    return difference.wrong > ROUNDED_ROWS * difference.rows


def _undecided(estimator: Any, layout: Layout, samples: Samples) -> np.ndarray:
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


def _choose(original: Original, job: Job, emit: Emit) -> Chosen:
    """ONNX where it exists and is proven, else the skops file itself."""
    emit("lower", "lowering it to ONNX", 0.4)
    parity = None
    try:
        if original.needs_double:
            raise NotLoweredError("rounding its inputs to float32 changes its answers")
        model = lower(original.estimator, original.layout, original.signature)
        (Path(job.artifact) / "model.onnx").write_bytes(model)
        emit("prove", f"comparing on {original.samples.count} rows", 0.6)
        parity, difference = _prove(original, job)
        if parity.agrees:
            text = f"lowered to ONNX, {difference.describe()}"
            return Chosen("onnx", True, text, parity)
        reason = parity.note or f"its ONNX form answers otherwise: {difference.describe()}"
    except NotLoweredError as error:
        reason = str(error)
        emit("prove", "proving that rows may be run together", 0.6)
    return Chosen("sklearn", False, f"served by scikit-learn itself, since {reason}", parity)


def _race(original: Original, chosen: Chosen, job: Job) -> tuple[tuple[EngineTiming, ...], Chosen]:
    """Times the engines that give the same answers; a far slower ONNX form is not served."""
    itself = Chosen("sklearn", False, "", chosen.parity)
    native = _time("sklearn", _load(job, itself, original.signature), original)
    if not chosen.lowered:
        return (native,), chosen
    lowered = _time("onnx", _load(job, chosen, original.signature), original)
    lag = min(
        lowered.us_per_row_1 / native.us_per_row_1,
        lowered.us_per_row_batch / native.us_per_row_batch,
    )
    if lag > FAR_SLOWER:
        reason = f"served by scikit-learn itself, since its ONNX form is {lag:.0f} times slower"
        chosen = msgspec.structs.replace(itself, reason=reason)
    return (lowered, native), chosen


def _prove(original: Original, job: Job) -> tuple[Parity, Difference]:
    """Compares the ONNX form with the original on every sample.

    Raises:
        NotLoweredError: where it does not load or does not run.
    """
    samples, reference = original.samples, _as_served(original)
    try:
        chosen = Chosen("onnx", True, "", None)
        servable = _load(job, chosen, original.signature)
        candidate = servable.infer(DEFAULT_SIGNATURE, samples.inputs)
    except MaasError as error:
        raise NotLoweredError(f"its ONNX form fails: {error.message}") from error
    servable.close()
    torn = _undecided(original.estimator, original.layout, samples)
    difference = compare(reference, candidate, torn)
    distinct = distinct_answers(reference)
    note = ""
    if distinct == 1:
        note = (
            f"all {samples.count} samples gave one answer, which proves nothing; publish it with "
            "--sample and rows that are answered differently"
        )
    parity = Parity(
        samples=samples.count,
        source=samples.source,
        max_abs=difference.max_abs,
        max_rel=difference.max_rel,
        distinct_answers=distinct,
        agrees=difference.agrees and distinct > 1,
        note=note,
    )
    return parity, difference


def _as_served(original: Original) -> dict[str, np.ndarray]:
    """The original's answers in the dtypes of the signature."""
    specs = original.signature.outputs
    return {spec.name: as_tensor(original.answers[spec.name], spec) for spec in specs}


def _load(job: Job, chosen: Chosen, signature: Signature) -> Servable:
    runtime = OnnxRuntime() if chosen.engine == "onnx" else SklearnRuntime()
    signatures = {DEFAULT_SIGNATURE: signature}
    return runtime.load(Artifact(job.artifact, chosen.entry, chosen.format, signatures), Device())


def _time(engine: str, servable: Servable, original: Original) -> EngineTiming:
    rows = original.samples.inputs
    one = take(rows, slice(0, 1))
    many = {name: array[np.arange(BATCH) % len(array)] for name, array in rows.items()}
    timing = time_engine(
        engine,
        lambda: servable.infer(DEFAULT_SIGNATURE, one),
        lambda: servable.infer(DEFAULT_SIGNATURE, many),
    )
    servable.close()
    return timing


def _warnings(original: Original, written: dict[str, str]) -> tuple[str, ...]:
    found = []
    here = read_with("scikit-learn").get("scikit-learn", "")
    there = written.get("scikit-learn", "")
    if there and there.split(".")[:2] != here.split(".")[:2]:
        found.append(
            f"written with scikit-learn {there}, read with {here}: attributes may mean other things"
        )
    if original.layout.names:
        names = ", ".join(name[:40] for name in original.layout.names[:50])
        found.append(f"the columns of x are, in this order: {names}")
    if any(v.dtype.kind == "f" and not np.isfinite(v).all() for v in original.answers.values()):
        found.append("some answers to the samples are not finite numbers")
    return tuple(found)
