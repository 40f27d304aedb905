"""Runs a Python model on samples: finds its outputs, proves its batch axis, times it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.pythonmodel import PythonModel
from maas.core.records import EngineTiming
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import Tensors, TensorSpec
from maas.publish.batch import BatchProof, prove_batched, take
from maas.publish.compare import compare
from maas.publish.messages import Emit, Job
from maas.publish.onnx_samples import draw_inputs
from maas.publish.python_signature import Form, batch_first, loosen, outputs_found
from maas.publish.sample_file import read_sample
from maas.publish.timing import BATCH, time_engine
from maas.runtimes.python import NoAnswerError, PythonServable, ask, conform

ROWS = 64
"""Rows drawn: a drawn row shows that a model answers, not what it is for."""
APART = 8
"""Rows that are asked one by one, to see which sizes vary."""
BUDGET_S = 5.0
"""Seconds that answering the drawn rows once may take, and that looking for more may."""


class Proven(Struct, frozen=True):
    """What running a Python model showed, and a call that it answers."""

    signature: Signature
    batch_note: str
    timing: EngineTiming
    warnings: tuple[str, ...]
    call: dict[str, np.ndarray]


class _Call(Struct, frozen=True):
    """One call that the model answered, and its answers as they came."""

    inputs: dict[str, np.ndarray]
    answers: dict[str, Any]


def prove_python(model: PythonModel, form: Form, job: Job, emit: Emit) -> Proven:
    """Asks a loaded model.

    Args:
        model: loaded.
        form: what it says of itself.
        job: its sample, if one was given.
        emit: hears of progress.

    Raises:
        MaasError: INVALID_ARGUMENT where it answers no sample, or otherwise than it says.
    """
    emit("prove", "running it", 0.5)
    try:
        calls = _given(model, form, job) if job.sample else _drawn(model, form)
        outputs = form.outputs
        if outputs is None:
            outputs = loosen(
                outputs_found([call.answers for call in calls]), [c.inputs for c in calls], form
            )
        # What a publisher must put right is no fault of the server.
        for call in calls:
            conform(call.answers, outputs, None)
        rows = calls[0].inputs
        proof = _prove_batch(model, form, outputs, rows)
        if proof.batched:
            outputs = batch_first(outputs)
        signature = Signature(DEFAULT_SIGNATURE, form.inputs, outputs, proof.batched)
        servable = PythonServable(model, {DEFAULT_SIGNATURE: signature})
        warnings = _behaviour(servable, rows)
    except MaasError as error:
        kind = ErrorKind.INVALID_ARGUMENT if error.kind is ErrorKind.INTERNAL else error.kind
        raise MaasError(kind, error.message) from error

    emit("time", "timing it", 0.85)
    one = take(rows, slice(0, 1)) if proof.batched else rows
    many = {
        name: array[np.arange(BATCH) % len(array)] for name, array in rows.items() if array.ndim
    }
    timing = time_engine(
        "python",
        lambda: servable.infer(DEFAULT_SIGNATURE, one),
        (lambda: servable.infer(DEFAULT_SIGNATURE, many)) if proof.batched else None,
    )
    return Proven(signature, proof.note, timing, warnings, one)


def _given(model: PythonModel, form: Form, job: Job) -> list[_Call]:
    rows = read_sample(Path(job.sample), job.sample_name, form.inputs, job.samples)
    try:
        calls = [_Call(rows, ask(model, form.inputs, rows))]
    except MaasError as error:
        raise invalid(f"the model does not answer the given sample: {error.message}") from error
    return [*calls, *_apart(model, form, rows)]


def _drawn(model: PythonModel, form: Form) -> list[_Call]:
    """The first drawn call that is answered, its rows one by one, and one of other sizes."""
    calls: list[_Call] = []
    reason = "its shapes are too large to guess"
    end = time.monotonic() + BUDGET_S
    for attempt in draw_inputs(form.inputs, form.symbols, ROWS, np.random.default_rng(0)):
        try:
            call = _within_budget(model, form, attempt)
        except NoAnswerError:
            raise  # no other sample would be answered
        except MaasError as error:
            reason = error.message
        else:
            calls.append(call)
            if len(calls) == 1:
                calls.extend(_apart(model, form, call.inputs))
            else:
                break
        if time.monotonic() > end:
            break
    if not calls:
        raise invalid(
            f"no drawn sample was answered ({reason}); publish it with --sample and a few rows "
            "that it does answer"
        )
    return calls


def _within_budget(model: PythonModel, form: Form, rows: Tensors) -> _Call:
    one = take(rows, slice(0, 1)) if form.may_batch else dict(rows)
    began = time.monotonic()
    answers = ask(model, form.inputs, one)
    count = min(ROWS, int(BUDGET_S / max(time.monotonic() - began, 1e-6)))
    if not form.may_batch or count < 2:
        return _Call(one, answers)
    some = take(rows, slice(0, count))
    return _Call(some, ask(model, form.inputs, some))


def _apart(model: PythonModel, form: Form, rows: Tensors) -> list[_Call]:
    if not form.may_batch:
        return []
    count = min(len(array) for array in rows.values())
    calls = []
    for row in range(min(count, APART)):
        one = take(rows, slice(row, row + 1))
        try:
            calls.append(_Call(one, ask(model, form.inputs, one)))
        except MaasError:
            break  # the proof of the batch axis will say so
    return calls


def _prove_batch(
    model: PythonModel, form: Form, outputs: tuple[TensorSpec, ...], rows: Tensors
) -> BatchProof:
    if not form.may_batch:
        for spec in form.inputs:
            if not spec.shape:
                return BatchProof(
                    False, f"input {spec.name!r} is a scalar, so there is no batch axis"
                )
            if spec.shape[0] is not None:
                return BatchProof(
                    False, f"the first axis of input {spec.name!r} is fixed at {spec.shape[0]}"
                )
        return BatchProof(False, "the first axes of the inputs have different letters")
    if len({len(array) for array in rows.values()}) > 1:
        return BatchProof(False, "the inputs of the sample have first axes of different sizes")
    signature = Signature(DEFAULT_SIGNATURE, form.inputs, outputs, batched=False)
    servable = PythonServable(model, {DEFAULT_SIGNATURE: signature})
    return prove_batched(lambda tensors: servable.infer(DEFAULT_SIGNATURE, tensors), rows)


def _behaviour(servable: PythonServable, rows: Tensors) -> tuple[str, ...]:
    """What a careful publisher would want to know about the answers."""
    first: Mapping[str, np.ndarray] = servable.infer(DEFAULT_SIGNATURE, rows)
    second = servable.infer(DEFAULT_SIGNATURE, rows)
    found = []
    if not compare(first, second).agrees:
        found.append("two runs on the same rows differ: the model is not deterministic")
    if any(a.dtype.kind in "fV" and not np.isfinite(a).all() for a in first.values()):
        found.append("some answers to the samples are not finite numbers")
    return tuple(found)
