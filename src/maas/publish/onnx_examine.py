"""Examines an ONNX model: scan, signature, proof. Runs in the child; `race` times the engines."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from maas.core.errors import MaasError, invalid
from maas.core.ports import Artifact
from maas.core.records import Parity
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.publish.batch import BatchProof, prove_batched
from maas.publish.compare import compare, distinct_answers
from maas.publish.external_data import check_external_data
from maas.publish.messages import Emit, Finding, Job
from maas.publish.onnx_graph import (
    check_operators,
    initialisers,
    read_model,
    remove_zipmaps,
    specs_of,
    symbols_of,
    written_with,
)
from maas.publish.onnx_samples import draw_inputs
from maas.publish.sample_file import read_sample
from maas.publish.versions import read_with
from maas.runtimes.onnx import OnnxServable, open_session
from maas.runtimes.tensorfile import ANSWERS, SAMPLES, write_tensors
from maas.runtimes.text import to_str

ROWS = 64
"""Rows drawn where none are given: a drawn row shows that a model answers, not what it is for."""
BUDGET_S = 5.0
"""Seconds that answering the drawn rows once may take."""


def examine_onnx(job: Job, emit: Emit) -> Finding:
    """Takes an ONNX model from its file to what will be served.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "checking the graph and its external data", 0.1)
    source = Path(job.source)
    file = source / job.entry if job.entry else source
    model = read_model(file)
    external = check_external_data(model, source if job.entry else None)
    check_operators(model)

    emit("inspect", "reading the signature", 0.2)
    written = written_with(model)
    labels = remove_zipmaps(model)
    skip = initialisers(model)
    inputs = tuple(specs_of(model.graph.input, "input", skip))
    outputs = _with_labels(tuple(specs_of(model.graph.output, "output")), labels)
    if not inputs:
        raise invalid("the model takes no inputs; expected at least one tensor")
    entry = _store(job, file, model if labels else None, external)
    symbols = symbols_of(model.graph.input, skip)
    del model

    signature = Signature(DEFAULT_SIGNATURE, inputs, outputs, batched=False)
    artifact = Artifact(job.artifact, entry, "onnx", {DEFAULT_SIGNATURE: signature})
    emit("prove", "running it", 0.5)
    sessions = {DEFAULT_SIGNATURE: open_session(artifact.file, job.threads)}
    servable = OnnxServable(sessions, artifact.signatures)
    rows, source_of_rows = _rows(job, servable, inputs, symbols)
    warnings = _behaviour(servable, rows, source_of_rows)
    proof = _prove_batch(servable, inputs, rows)
    answers = servable.infer(DEFAULT_SIGNATURE, rows)
    servable.close()
    signature = Signature(
        DEFAULT_SIGNATURE, inputs, _shapes(outputs, answers, proof.batched), proof.batched
    )
    parity = _parity(file, answers, rows, labels, source_of_rows) if labels else None
    write_tensors(Path(job.work) / SAMPLES, {DEFAULT_SIGNATURE: rows})
    write_tensors(Path(job.work) / ANSWERS, {DEFAULT_SIGNATURE: answers})
    return Finding(
        engine="onnx",
        format="onnx",
        entry=entry,
        signatures={DEFAULT_SIGNATURE: signature},
        lowered=False,
        reason=(
            "published as ONNX; its ZipMap was taken off, so that scores come out as a tensor"
            if labels
            else "published as ONNX, served as it is"
        ),
        written_with=written,
        read_with=read_with("onnxruntime", "onnx"),
        parity=parity,
        batch_note=proof.note,
        timings=(),
        warnings=warnings,
    )


def _with_labels(
    outputs: tuple[TensorSpec, ...], labels: dict[str, tuple[str, ...]]
) -> tuple[TensorSpec, ...]:
    """Class names on the scores that a ZipMap gave, and on the labels beside them."""
    names = next(iter(labels.values())) if len(labels) == 1 else ()
    indices = tuple(str(i) for i in range(len(names)))
    specs = []
    for spec in outputs:
        own = labels.get(spec.name, ())
        is_label = len(spec.shape) == 1 and (
            spec.dtype is DType.BYTES or (spec.dtype is DType.INT64 and names == indices)
        )
        specs.append(
            msgspec.structs.replace(spec, labels=(own or (names if is_label else ())) or None)
        )
    return tuple(specs)


def _store(job: Job, file: Path, changed: Any, external: tuple[str, ...]) -> str:
    """Writes the model to serve, and its external data at the same relative places."""
    folder = Path(job.artifact)
    entry = job.entry or "model.onnx"
    if changed is None:
        shutil.copyfile(file, folder / entry)
    else:
        (folder / entry).write_bytes(changed.SerializeToString())
    for name in external:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(job.source) / name, folder / name, follow_symlinks=False)
    return entry


def _rows(
    job: Job,
    servable: OnnxServable,
    inputs: tuple[TensorSpec, ...],
    symbols: dict[str, tuple[str, ...]],
) -> tuple[dict[str, np.ndarray], str]:
    """Rows that the model answers, and where they are from.

    Raises:
        MaasError: INVALID_ARGUMENT where it answers none.
    """
    if job.sample:
        rows = read_sample(Path(job.sample), job.sample_name, inputs, job.samples)
        try:
            servable.infer(DEFAULT_SIGNATURE, rows)
        except MaasError as error:
            raise invalid(f"the model does not answer the given sample: {error.message}") from error
        return rows, "given"
    reason = "its shapes are too large to guess"
    for attempt in draw_inputs(inputs, symbols, ROWS, np.random.default_rng(0)):
        one = _first_rows(inputs, attempt, 1)
        began = time.monotonic()
        try:
            servable.infer(DEFAULT_SIGNATURE, one)
        except MaasError as error:
            reason = error.message
            continue
        # A model of large images answers as many as fit into the budget.
        count = int(BUDGET_S / max(time.monotonic() - began, 1e-6))
        some = _first_rows(inputs, attempt, min(max(count, 2), ROWS))
        try:
            servable.infer(DEFAULT_SIGNATURE, some)
        except MaasError:
            return one, "model"  # the proof of the batch axis will say so
        return some, "model"
    raise invalid(
        f"no drawn sample was answered ({reason}); publish it with --sample and a few rows "
        "that it does answer"
    )


def _first_rows(inputs: tuple[TensorSpec, ...], rows: Tensors, count: int) -> dict[str, np.ndarray]:
    return {
        spec.name: rows[spec.name][:count] if spec.shape[:1] == (None,) else rows[spec.name]
        for spec in inputs
    }


def _behaviour(servable: OnnxServable, rows: Tensors, source: str) -> tuple[str, ...]:
    """What a careful publisher would want to know about the answers."""
    first = servable.infer(DEFAULT_SIGNATURE, rows)
    second = servable.infer(DEFAULT_SIGNATURE, rows)
    warnings = []
    if not compare(first, second).agrees:
        warnings.append("two runs on the same rows differ: the model is not deterministic")
    if any(a.dtype.kind in "fV" and not np.isfinite(a).all() for a in first.values()):
        what = "the given" if source == "given" else "drawn"
        warnings.append(f"some answers to {what} samples are not finite numbers")
    return tuple(warnings)


def _prove_batch(
    servable: OnnxServable, inputs: tuple[TensorSpec, ...], rows: Tensors
) -> BatchProof:
    for spec in inputs:
        if not spec.shape:
            return BatchProof(False, f"input {spec.name!r} is a scalar, so there is no batch axis")
        if spec.shape[0] is not None:
            return BatchProof(
                False, f"the first axis of input {spec.name!r} is fixed at {spec.shape[0]}"
            )
    if len({len(rows[spec.name]) for spec in inputs}) != 1:
        return BatchProof(False, "the inputs have first axes of different sizes")
    return prove_batched(lambda tensors: servable.infer(DEFAULT_SIGNATURE, tensors), rows)


def _shapes(
    outputs: tuple[TensorSpec, ...], answers: Tensors, batched: bool
) -> tuple[TensorSpec, ...]:
    """Output specs whose rank is what came out, and whose first axis is None when batched."""
    specs = []
    for spec in outputs:
        rank = answers[spec.name].ndim
        shape = spec.shape if len(spec.shape) == rank else (None,) * rank
        if batched:
            shape = (None, *shape[1:])
        specs.append(msgspec.structs.replace(spec, shape=shape))
    return tuple(specs)


def _parity(
    file: Path,
    answers: Tensors,
    rows: Tensors,
    labels: dict[str, tuple[str, ...]],
    source: str,
) -> Parity:
    """Compares with the original graph, whose ZipMaps give a list of maps.

    Raises:
        MaasError: INVALID_ARGUMENT where the rewritten graph answers otherwise.
    """
    session = open_session(file)
    names = [output.name for output in session.get_outputs()]
    original: dict[str, np.ndarray] = {}
    for name, value in zip(names, session.run(names, _as_text(rows)), strict=True):
        if name in labels:
            value = np.array([list(row.values()) for row in value], dtype=np.float32)
        original[name] = value
    candidate = {n: _as_text({n: a})[n] if a.dtype == object else a for n, a in answers.items()}
    difference = compare(original, candidate)
    if not difference.agrees:
        raise invalid(
            f"without its ZipMap the model answers otherwise ({difference.describe()}); "
            "export it with zipmap=False"
        )
    return Parity(
        samples=difference.rows,
        source=source,
        max_abs=difference.max_abs,
        max_rel=difference.max_rel,
        distinct_answers=distinct_answers(original),
        agrees=True,
        note="the graph without its ZipMap against the graph as published",
    )


def _as_text(tensors: Tensors) -> dict[str, np.ndarray]:
    return {n: to_str(n, a) if a.dtype == object else a for n, a in tensors.items()}
