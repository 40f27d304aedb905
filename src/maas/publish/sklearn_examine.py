"""Examines a scikit-learn estimator: lowering, proof, timing. Runs in the child."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.ports import Artifact, Device, Runtime, Servable, load_servable
from maas.core.records import EngineTiming, Parity
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.publish.batch import prove_batched, take
from maas.publish.compare import Difference, compare, distinct_answers, parity_of
from maas.publish.lower import NotLoweredError, lower
from maas.publish.messages import Emit, Finding, Job
from maas.publish.sklearn_original import Original, ask_original, undecided
from maas.publish.skops_scan import scan_skops
from maas.publish.timing import BATCH, FAR_SLOWER, time_engine, times_slower
from maas.publish.versions import read_with
from maas.runtimes.estimator import LIBRARIES, layout_of
from maas.runtimes.onnx import OnnxRuntime
from maas.runtimes.sklearn import SklearnRuntime
from maas.runtimes.skops_types import load_skops
from maas.runtimes.tensorfile import ANSWERS, PROVING, SAMPLES, write_tensors

NATIVE = ("sklearn", "pickle", "xgboost", "lightgbm")
"""Names of engines that ask for the published form itself."""


class Native(Struct, frozen=True):
    """The form as published, and what serves it.

    Args:
        runtime: made for it.
        entry: its file in the artifact folder.
        files: everything of the artifact folder that only this form needs.
        written_with: versions that the file says it was made with.
        warnings: what is already known.
        libraries: distributions that read this form.
        title: as people call what serves it; empty where the estimator's own library says.
    """

    runtime: Runtime
    entry: str
    files: tuple[str, ...]
    written_with: dict[str, str]
    warnings: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ("scikit-learn", "skops")
    title: str = ""


class Chosen(Struct, frozen=True):
    """The form that will be served, and why."""

    lowered: bool
    reason: str
    parity: Parity | None


def examine_skops(job: Job, emit: Emit) -> Finding:
    """Takes a skops file to what will be served: ONNX where that is proven, else itself.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    from sklearn.base import BaseEstimator

    emit("scan", "looking through the archive", 0.1)
    file = Path(job.source)
    scan = scan_skops(file)

    emit("inspect", "opening it with skops", 0.2)
    estimator = load_skops(file)
    if not isinstance(estimator, BaseEstimator):
        raise invalid(
            f"the file holds a {type(estimator).__name__}, not an estimator; "
            "save the fitted estimator or pipeline itself"
        )
    original = ask_original(estimator, layout_of(estimator), job)
    entry = "model.skops"
    shutil.copyfile(file, Path(job.artifact) / entry)
    native = Native(SklearnRuntime(), entry, (entry,), scan.written_with)
    return examine_estimator(original, native, job, emit)


def examine_estimator(original: Original, native: Native, job: Job, emit: Emit) -> Finding:
    """Takes an estimator to what will be served: ONNX where that is proven, else itself.

    Args:
        original: the estimator and its answers.
        native: its files, already in the artifact folder.
        job: which engine is asked for, if any.
        emit: hears of progress.
    """
    chosen = _choose(original, native, job, emit)
    emit("time", "timing each engine", 0.8)
    timings, chosen = _race(original, native, chosen, job)
    folder = Path(job.artifact)
    for name in native.files if chosen.lowered else ("model.onnx",):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    servable = _load(job, native, chosen.lowered, original.signature)
    proof = prove_batched(
        lambda rows: servable.infer(DEFAULT_SIGNATURE, rows), original.samples.inputs
    )
    servable.close()
    if chosen.lowered:
        write_tensors(Path(job.work) / SAMPLES, {DEFAULT_SIGNATURE: original.samples.inputs})
        write_tensors(Path(job.work) / ANSWERS, {DEFAULT_SIGNATURE: original.as_served()})
    else:
        rows = original.samples.inputs
        one = take(rows, slice(0, 1)) if proof.batched else rows
        write_tensors(folder / PROVING, {DEFAULT_SIGNATURE: one})
    signature = msgspec.structs.replace(original.signature, batched=proof.batched)
    return Finding(
        engine="onnx" if chosen.lowered else native.runtime.name,
        format=_format(native, chosen.lowered),
        entry=_entry(native, chosen.lowered),
        signatures={DEFAULT_SIGNATURE: signature},
        lowered=chosen.lowered,
        reason=chosen.reason,
        written_with=native.written_with,
        read_with=read_with(*native.libraries, "skl2onnx", "onnxruntime"),
        parity=chosen.parity,
        batch_note=proof.note,
        timings=timings,
        warnings=_warnings(original, native),
    )


def _choose(original: Original, native: Native, job: Job, emit: Emit) -> Chosen:
    """ONNX where it exists and is proven, else the published file itself."""
    emit("lower", "lowering it to ONNX", 0.4)
    parity = None
    try:
        if job.engine in NATIVE:
            raise NotLoweredError(f"--engine {job.engine} asks for it")
        if original.needs_double:
            raise NotLoweredError("rounding its inputs to float32 changes its answers")
        model = lower(original.estimator, original.layout, original.signature)
        (Path(job.artifact) / "model.onnx").write_bytes(model)
        emit("prove", f"comparing on {original.samples.count} rows", 0.6)
        parity, difference = _prove(original, native, job)
        if parity.agrees:
            text = f"lowered to ONNX, {difference.describe()}"
            return Chosen(True, text, parity)
        reason = parity.note or f"its ONNX form answers otherwise: {difference.describe()}"
    except NotLoweredError as error:
        reason = str(error)
        emit("prove", "proving that rows may be run together", 0.6)
    return Chosen(False, f"{_itself(original, native)}, since {reason}", parity)


def _itself(original: Original, native: Native) -> str:
    if native.title:
        return f"served by {native.title} itself"
    library = type(original.estimator).__module__.partition(".")[0]
    name = library if library in LIBRARIES - {"sklearn"} else "scikit-learn"
    return f"served by {name} itself"


def _race(
    original: Original, native: Native, chosen: Chosen, job: Job
) -> tuple[tuple[EngineTiming, ...], Chosen]:
    """Times the engines that give the same answers; a far slower ONNX form is not served."""
    itself = _time(native.runtime.name, _load(job, native, False, original.signature), original)
    if not chosen.lowered:
        return (itself,), chosen
    lowered = _time("onnx", _load(job, native, True, original.signature), original)
    lag = times_slower(lowered, itself)
    if lag > FAR_SLOWER and not job.engine:
        reason = f"{_itself(original, native)}, since its ONNX form is {lag:.0f} times slower"
        chosen = Chosen(False, reason, chosen.parity)
    return (lowered, itself), chosen


def _prove(original: Original, native: Native, job: Job) -> tuple[Parity, Difference]:
    """Compares the ONNX form with the original on every sample.

    Raises:
        NotLoweredError: where it does not load or does not run.
    """
    samples, reference = original.samples, original.as_served()
    try:
        servable = _load(job, native, True, original.signature)
        candidate = servable.infer(DEFAULT_SIGNATURE, samples.inputs)
    except MaasError as error:
        raise NotLoweredError(f"its ONNX form fails: {error.message}") from error
    servable.close()
    torn = undecided(original.estimator, original.layout, samples)
    difference = compare(reference, candidate, torn)
    return parity_of(difference, distinct_answers(reference), samples.source), difference


def _load(job: Job, native: Native, lowered: bool, signature: Signature) -> Servable:
    runtime: Runtime = OnnxRuntime() if lowered else native.runtime
    artifact = Artifact(
        job.artifact,
        _entry(native, lowered),
        _format(native, lowered),
        {DEFAULT_SIGNATURE: signature},
    )
    return load_servable(runtime, artifact, Device())


def _entry(native: Native, lowered: bool) -> str:
    return "model.onnx" if lowered else native.entry


def _format(native: Native, lowered: bool) -> str:
    return "onnx" if lowered else next(iter(native.runtime.formats))


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


def _warnings(original: Original, native: Native) -> tuple[str, ...]:
    found = list(native.warnings)
    here = read_with("scikit-learn").get("scikit-learn", "")
    there = native.written_with.get("scikit-learn", "")
    if there and there.split(".")[:2] != here.split(".")[:2]:
        found.append(
            f"written with scikit-learn {there}, read with {here}: attributes may mean other things"
        )
    if original.layout.names and original.layout.kind in ("numbers", "words"):
        names = ", ".join(name[:40] for name in original.layout.names[:50])
        found.append(f"the columns of x are, in this order: {names}")
    if any(v.dtype.kind == "f" and not np.isfinite(v).all() for v in original.answers.values()):
        found.append("some answers to the samples are not finite numbers")
    return tuple(found)
