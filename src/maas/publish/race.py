"""Chooses among the engines that can run an ONNX form: the fastest that gives the same answers.

    scan the files again ─▶ each engine: load ▸ compare ▸ probe ▸ prove the batch ▸ time ─▶ choose

Runs in a child of its own that holds engines and nothing of the model's code. What the first child
left behind is read as if a stranger had sent it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.ports import Artifact, Device, Runtime, Servable, load_servable
from maas.core.records import EngineTiming
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import Tensors
from maas.publish.batch import prove_batched, rows_at_once, take
from maas.publish.choose import choose
from maas.publish.compare import compare
from maas.publish.external_data import check_external_data
from maas.publish.messages import Emit, Raced, RaceJob
from maas.publish.onnx_graph import check_operators, nodes_of, read_model
from maas.publish.probes import Probe, ask, difference_on, probes_of
from maas.publish.timing import time_engine
from maas.publish.versions import read_with
from maas.runtimes.onnx import files_of
from maas.runtimes.tensorfile import ANSWERS, SAMPLES, read_tensors

ONNX = "onnx"
"""The engine that every lowering was proven with, and that every other is compared with."""
LOOPS = frozenset({"Loop", "Scan"})
"""Operators that repeat as often as a value says; a value made up to probe might say for ever."""
MOST_TORN = 0.05
"""Share of rows in which ONNX Runtime's labels may differ from the original's: ties, which the
first stage has looked at. With more, nothing is known of a second engine's labels."""
DISTRIBUTIONS = ("onnxruntime", "openvino")


class _Case(Struct, frozen=True):
    """One signature with what it was tried on, and what is right.

    Args:
        signature: as found; batched only where that was proved again.
        samples: the call.
        reference: what is right by definition, as each output's dtype has it.
        torn: bool [rows]: where either of two labels is right.
        probes: calls with values of all kinds, and what ONNX Runtime says to them.
    """

    signature: Signature
    samples: Tensors
    reference: Tensors
    torn: np.ndarray | None
    probes: tuple[Probe, ...]


def race(job: RaceJob, runtimes: Callable[[str], Runtime], emit: Emit) -> Raced:
    """Proves and times each engine.

    Args:
        job: what to race.
        runtimes: gives a runtime by name.
        emit: hears of progress.

    Raises:
        MaasError: where the files are not what the finding says, or the engine that was asked for
            cannot serve.
    """
    found = job.finding
    artifact = Artifact(job.artifact, found.entry, found.format, found.signatures)
    emit("time", f"timing {', '.join(job.engines)}", 0.9)
    loops = _scan(artifact)
    samples = _read(job, SAMPLES, artifact)
    device = Device(threads=job.threads)
    servable = load_servable(runtimes(ONNX), artifact, device)
    cases, note, repeats = _prove_again(job, servable, samples)
    proven = {case.signature.name: case.signature for case in cases}
    artifact = msgspec.structs.replace(artifact, signatures=proven)
    timings = [_time(ONNX, servable, cases[0])]
    servable.close()

    refusals: dict[str, str] = {}
    for engine in (name for name in job.engines if name != ONNX):
        reason = _unfit(loops, repeats, cases)
        if not reason:
            try:
                loaded = load_servable(runtimes(engine), artifact, device)
                timings.append(_try(engine, loaded, cases))
            except MaasError as error:
                reason = error.message
        if reason:
            refusals[engine] = reason
    chosen = choose(tuple(timings), job.engine, refusals)
    return Raced(
        engine=chosen.engine,
        signatures=proven,
        reason=f"{found.reason}{chosen.clause}",
        batch_note=note or found.batch_note,
        timings=chosen.timings,
        read_with=read_with(*DISTRIBUTIONS),
    )


def _scan(artifact: Artifact) -> bool:
    """Looks through every file as a stranger's; whether any of them loops.

    Raises:
        MaasError: INVALID_ARGUMENT for external data elsewhere and operators that are not known.
    """
    loops = False
    for file in files_of(artifact).values():
        model = read_model(file)
        check_external_data(model, Path(artifact.path))
        check_operators(model)
        loops = loops or any(node.op_type in LOOPS for node in nodes_of(model))
    return loops


def _read(job: RaceJob, name: str, artifact: Artifact) -> dict[str, dict[str, np.ndarray]]:
    tensors = read_tensors(Path(job.work) / name)
    if tensors.keys() != artifact.signatures.keys():
        raise invalid("the samples are of other signatures than the model's; publish it again")
    return tensors


def _prove_again(
    job: RaceJob, servable: Servable, samples: dict[str, dict[str, np.ndarray]]
) -> tuple[tuple[_Case, ...], str, bool]:
    """ONNX Runtime's answers, compared with the original's.

    Returns:
        A case for each signature, why one has no batch axis after all, and whether the model
        answers the same call the same way twice.

    Raises:
        MaasError: INVALID_ARGUMENT where it does not answer as the original did.
    """
    itself = job.format == ONNX
    answers = {} if itself else _read_answers(job, samples)
    cases, note, repeats = [], "", True
    for name, signature in job.finding.signatures.items():
        check_inputs(signature, samples[name])
        mine = servable.infer(name, samples[name])
        _check_outputs(signature, mine)
        repeats = repeats and compare(mine, servable.infer(name, samples[name])).agrees
        torn = None
        if not itself:
            torn = _torn(signature, answers[name], mine)
        if signature.batched:
            proof = prove_batched(partial(servable.infer, name), samples[name])
            if not proof.batched:
                signature = msgspec.structs.replace(signature, batched=False)
                note = note or proof.note
        reference = mine if itself else answers[name]
        calls = probes_of(signature, samples[name]) if len(job.engines) > 1 else []
        probes = tuple(ask(servable, name, what, call) for what, call in calls)
        cases.append(_Case(signature, samples[name], reference, torn, probes))
    return tuple(cases), note, repeats


def _read_answers(
    job: RaceJob, samples: dict[str, dict[str, np.ndarray]]
) -> dict[str, dict[str, np.ndarray]]:
    answers = read_tensors(Path(job.work) / ANSWERS)
    for name, signature in job.finding.signatures.items():
        if {spec.name for spec in signature.outputs} != answers.get(name, {}).keys():
            raise invalid("the answers are of other outputs than the model's; publish it again")
    return answers


def _check_outputs(signature: Signature, answers: Tensors) -> None:
    """The dtypes and ranks that the signature promises.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the output.
    """
    for spec in signature.outputs:
        array = answers[spec.name]
        if array.dtype != spec.dtype.numpy or array.ndim != len(spec.shape):
            raise invalid(
                f"output {spec.name!r} comes out as {array.dtype} {list(array.shape)} where its "
                f"signature says {spec.dtype}; publish the model again"
            )


def _torn(signature: Signature, reference: Tensors, mine: Tensors) -> np.ndarray:
    """Rows where ONNX Runtime's labels are not the original's though its numbers are.

    Raises:
        MaasError: INVALID_ARGUMENT where its numbers are not.
    """
    numbers = [spec.name for spec in signature.outputs if spec.dtype.is_float]
    rows = max((len(array) for array in reference.values() if array.ndim), default=1)
    torn = np.zeros(rows, dtype=bool)
    difference = compare({n: reference[n] for n in numbers}, mine)
    if not difference.agrees:
        raise invalid(
            f"the ONNX form does not answer as it did when it was made ({difference.describe()}); "
            "publish the model again"
        )
    for name, want in reference.items():
        if name not in numbers and want.shape == mine[name].shape and want.shape[:1] == (rows,):
            other = np.not_equal(want, mine[name])
            torn |= np.any(other, axis=tuple(range(1, other.ndim)))
    return torn


def _unfit(loops: bool, repeats: bool, cases: tuple[_Case, ...]) -> str:
    """Why no second engine can be compared with the first; empty where one can."""
    if loops:
        return "the model has a loop, which cannot be probed with values of every kind"
    if not repeats:
        return "two runs on the same rows differ, so nothing can be compared"
    if any(case.torn is not None and case.torn.mean() > MOST_TORN for case in cases):
        return "its labels hang on ties, so they cannot be compared"
    return ""


def _try(engine: str, servable: Servable, cases: tuple[_Case, ...]) -> EngineTiming:
    """One engine's comparison and timing."""
    try:
        note = next(filter(None, (_complaint(servable, case) for case in cases)), "")
        timing = _time(engine, servable, cases[0])
    finally:
        servable.close()
    return msgspec.structs.replace(timing, agrees=not note, note=note)


def _complaint(servable: Servable, case: _Case) -> str:
    """In what an engine differs; empty where it does not."""
    name = case.signature.name
    answers = servable.infer(name, case.samples)
    try:
        _check_outputs(case.signature, answers)
    except MaasError as error:
        return error.message
    difference = compare(case.reference, answers, case.torn)
    if not difference.agrees:
        return difference.describe()
    for probe in case.probes:
        if note := difference_on(probe, servable, name):
            return note
    if case.signature.batched:
        proof = prove_batched(partial(servable.infer, name), case.samples)
        if not proof.batched:
            return proof.note
    return ""


def _time(engine: str, servable: Servable, case: _Case) -> EngineTiming:
    name, rows = case.signature.name, case.samples
    infer = partial(servable.infer, name)
    if not case.signature.batched:
        return time_engine(engine, partial(infer, rows), None)
    one = take(rows, slice(0, 1))
    count = rows_at_once(rows)
    many = {n: array[np.arange(count) % len(array)] for n, array in rows.items()}
    return time_engine(engine, partial(infer, one), partial(infer, many), count)
