"""Lowers every signature of a network, proves it, and chooses what will be served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.ports import Artifact, Device, Runtime, Servable
from maas.core.records import EngineTiming, Parity
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import Tensors, TensorSpec
from maas.publish.batch import BatchProof, prove_batched, rows_at_once, take
from maas.publish.compare import Difference, compare, distinct_answers, parity_of
from maas.publish.lower import NotLoweredError
from maas.publish.messages import Emit, Job
from maas.publish.tf_samples import Samples
from maas.publish.timing import BATCH, FAR_SLOWER, time_engine, times_slower
from maas.runtimes.onnx import OnnxRuntime
from maas.runtimes.tensorfile import ANSWERS, SAMPLES, write_tensors

FEW = 4
"""Rows that are run together at least, to prove the batch axis."""
Lower = Callable[[Signature], bytes]
UNSTEADY = "its answers to the same rows differ from one run to the next"


class Original(Struct, frozen=True):
    """One signature of the model as published: its answers are right by definition.

    Args:
        signature: not yet known to be batched.
        lower: makes its ONNX form: a serialised ModelProto, or NotLoweredError.
        unlowerable: why it cannot be lowered, where that is known before trying.
        samples: None where the signature answers nothing that could be drawn for it.
        note: why there are none.
    """

    signature: Signature
    lower: Lower
    unlowerable: str
    samples: Samples | None
    note: str = ""

    @property
    def name(self) -> str:
        """The signature's."""
        return self.signature.name


class Native(Struct, frozen=True):
    """The framework's own form.

    Args:
        runtime: what serves it.
        title: as people call it: `Keras`.
        format: of its artifact.
        entry: its file in the artifact folder.
        store: puts it into the artifact folder for good, or takes it out again.
    """

    runtime: Runtime
    title: str
    format: str
    entry: str
    store: Callable[[bool], None]

    @property
    def engine(self) -> str:
        """The runtime's name."""
        return self.runtime.name


class Proved(Struct, frozen=True):
    """What will be served, and what is known of it."""

    engine: str
    format: str
    entry: str
    lowered: bool
    reason: str
    signatures: dict[str, Signature]
    parity: Parity | None
    batch_note: str
    timings: tuple[EngineTiming, ...]
    warnings: tuple[str, ...]


def prove(
    originals: list[Original], native: Native, servable: Servable, job: Job, emit: Emit
) -> Proved:
    """Chooses ONNX where every signature is lowered and proven, else the framework itself.

    Args:
        originals: the default signature first.
        native: the other choice.
        servable: the model as published, loaded.
        job: what to do.
        emit: hears of progress.

    Raises:
        MaasError: INVALID_ARGUMENT where an engine was asked for that cannot serve it.
    """
    emit("lower", "lowering it to ONNX", 0.4)
    shaped = {original.name: _shaped(original) for original in originals}
    parity, reason = None, ""
    try:
        if job.engine == native.engine:
            raise NotLoweredError(f"that was asked for with --engine {native.engine}")
        for original in originals:
            _lower(original, shaped[original.name], job, len(originals) == 1)
        emit("prove", "comparing it with the original", 0.6)
        parity, difference = _compare_all(originals, shaped, job)
        if not parity.agrees:
            raise NotLoweredError(
                parity.note or f"its ONNX form answers otherwise: {difference.describe()}"
            )
        reason = f"lowered to ONNX, {difference.describe()}"
    except NotLoweredError as error:
        lowered = False
        reason = str(error)
    else:
        lowered = True
    emit("time", "timing each engine", 0.8)
    timings = [_time(native.engine, servable, originals[0])]
    if lowered:
        onnx = _open(originals[0].name, shaped[originals[0].name], job, len(originals) == 1)
        timings.insert(0, _time("onnx", onnx, originals[0]))
        onnx.close()
        lag = times_slower(*timings)
        if lag > FAR_SLOWER and not job.engine:
            lowered, reason = False, f"its ONNX form is {lag:.0f} times slower"
    if not lowered and job.engine not in ("", native.engine):
        raise invalid(f"--engine {job.engine} cannot serve this model: {reason}")
    return _settle(originals, shaped, native, servable, job, lowered, reason, parity, timings)


def _settle(
    originals: list[Original],
    shaped: dict[str, Signature],
    native: Native,
    servable: Servable,
    job: Job,
    lowered: bool,
    reason: str,
    parity: Parity | None,
    timings: list[EngineTiming],
) -> Proved:
    """Proves the batch axis of the chosen form, and leaves that form alone in the folder."""
    signatures, notes = {}, []
    for original in originals:
        signature = shaped[original.name]
        chosen = _open(original.name, signature, job, len(originals) == 1) if lowered else servable
        proof = _prove_batch(original, chosen)
        if lowered:
            chosen.close()
        signatures[original.name] = _final(signature, proof.batched)
        notes.append(proof.note if len(originals) == 1 else f"{original.name}: {proof.note}")
    native.store(not lowered)
    if lowered:
        _write_samples(originals, signatures, job)
    else:
        for file in Path(job.artifact).glob("*.onnx"):
            file.unlink()
        # What was proved is what will be loaded: from the artifact, through the runtime.
        artifact = Artifact(job.artifact, native.entry, native.format, signatures)
        native.runtime.load(artifact, Device(threads=job.threads)).close()
    return Proved(
        engine="onnx" if lowered else native.engine,
        format="onnx" if lowered else native.format,
        entry=_file(originals[0].name, len(originals) == 1) if lowered else native.entry,
        lowered=lowered,
        reason=reason if lowered else f"served by {native.title} itself, since {reason}",
        signatures=signatures,
        parity=parity,
        batch_note="; ".join(notes),
        timings=tuple(timings),
        warnings=tuple(_warnings(originals)),
    )


def is_steady(servable: Servable, name: str, samples: Samples) -> bool:
    """Whether the original gives the same answers again."""
    again = servable.infer(name, samples.groups[0])
    return compare(samples.answers[0], again).agrees


def _lower(original: Original, signature: Signature, job: Job, alone: bool) -> None:
    if original.unlowerable:
        raise NotLoweredError(original.unlowerable)
    if original.samples is None:
        raise NotLoweredError(
            f"no drawn sample is answered by its signature {original.name!r} ({original.note})"
        )
    model = original.lower(signature)
    (Path(job.artifact) / _file(original.name, alone)).write_bytes(model)


def _file(name: str, alone: bool) -> str:
    return "model.onnx" if alone else f"{name}.onnx"


def _open(name: str, signature: Signature, job: Job, alone: bool) -> Servable:
    artifact = Artifact(job.artifact, _file(name, alone), "onnx", {name: signature})
    return OnnxRuntime().load(artifact, Device(threads=job.threads))


def _compare_all(
    originals: list[Original], shaped: dict[str, Signature], job: Job
) -> tuple[Parity, Difference]:
    """Compares each lowered signature with the original on every sample."""
    worst: tuple[Parity, Difference] | None = None
    for original in originals:
        found = _compare(original, shaped[original.name], job, len(originals) == 1)
        if worst is None or (worst[0].agrees and not found[0].agrees):
            worst = found
    assert worst is not None
    return worst


def _compare(
    original: Original, signature: Signature, job: Job, alone: bool
) -> tuple[Parity, Difference]:
    samples = original.samples
    assert samples is not None
    try:
        servable = _open(original.name, signature, job, alone)
        candidates = [servable.infer(original.name, group) for group in samples.groups]
    except MaasError as error:
        raise NotLoweredError(f"its ONNX form fails: {error.message}") from error
    servable.close()
    parts = [compare(a, b) for a, b in zip(samples.answers, candidates, strict=True)]
    difference = Difference(
        rows=sum(part.rows for part in parts),
        wrong=sum(part.wrong for part in parts),
        max_abs=max(part.max_abs for part in parts),
        max_rel=max(part.max_rel for part in parts),
        output=max(parts, key=lambda part: part.wrong).output,
    )
    return parity_of(difference, _distinct(samples), samples.source), difference


def _distinct(samples: Samples) -> int:
    if samples.rows_axis:
        return distinct_answers(samples.outputs())
    first = next(iter(samples.answers[0]))
    return len({answer[first].tobytes() for answer in samples.answers})


def _shaped(original: Original) -> Signature:
    """Output specs whose rank is what came out, with None where sizes vary."""
    signature = original.signature
    if original.samples is None:
        return signature
    specs = []
    for spec in signature.outputs:
        shapes = [answer[spec.name].shape for answer in original.samples.answers]
        rank = len(shapes[0])
        declared = spec.shape if len(spec.shape) == rank else (None,) * rank
        sizes = tuple(
            want if all(shape[axis] == want for shape in shapes) else None
            for axis, want in enumerate(declared)
        )
        specs.append(TensorSpec(spec.name, spec.dtype, sizes, spec.labels))
    return msgspec.structs.replace(signature, outputs=tuple(specs))


def _final(signature: Signature, batched: bool) -> Signature:
    outputs = signature.outputs
    if batched:
        outputs = tuple(
            msgspec.structs.replace(spec, shape=(None, *spec.shape[1:])) for spec in outputs
        )
    return msgspec.structs.replace(signature, outputs=outputs, batched=batched)


def _prove_batch(original: Original, servable: Servable) -> BatchProof:
    if original.samples is None:
        return BatchProof(False, f"no drawn sample is answered ({original.note})")
    for spec in original.signature.inputs:
        if not spec.shape:
            return BatchProof(False, f"input {spec.name!r} is a scalar, so there is no batch axis")
        if spec.shape[0] is not None:
            return BatchProof(
                False, f"the first axis of input {spec.name!r} is fixed at {spec.shape[0]}"
            )
    rows = original.samples.groups[0]
    if original.samples.rows_axis:
        inputs = original.samples.inputs()
        rows = take(inputs, slice(0, max(rows_at_once(inputs), FEW)))
    return prove_batched(lambda tensors: servable.infer(original.name, tensors), rows)


def _time(engine: str, servable: Servable, original: Original) -> EngineTiming:
    samples = original.samples
    if samples is None:
        return EngineTiming(engine, 0.0, 0.0, 1, note=f"not timed: {original.note}")
    group = samples.groups[0]
    many: Tensors | None = None
    batch = min(BATCH, rows_at_once(group)) if samples.rows_axis else 1
    if samples.rows_axis:
        many = {name: array[np.arange(batch) % len(array)] for name, array in group.items()}
        group = take(group, slice(0, 1))
    return time_engine(
        engine,
        lambda: servable.infer(original.name, group),
        None if many is None else lambda: servable.infer(original.name, many),
        batch,
    )


def _write_samples(originals: list[Original], signatures: dict[str, Signature], job: Job) -> None:
    """For the race of engines that comes after.

    Where rows mix, all rows in one call are another question than those that were answered.
    """
    inputs: dict[str, Tensors] = {}
    answers: dict[str, Tensors] = {}
    for original in originals:
        samples = original.samples
        if samples is None:
            continue
        together = signatures[original.name].batched
        inputs[original.name] = samples.inputs() if together else samples.groups[0]
        answers[original.name] = samples.outputs() if together else samples.answers[0]
    work = Path(job.work)
    write_tensors(work / SAMPLES, inputs)
    write_tensors(work / ANSWERS, answers)


def _warnings(originals: list[Original]) -> list[str]:
    found = []
    for original in originals:
        where = "" if original.name == DEFAULT_SIGNATURE else f" of signature {original.name!r}"
        if original.samples is None:
            found.append(
                f"signature {original.name!r} answers no drawn sample ({original.note}), so "
                "nothing about it is proven"
            )
            continue
        if original.unlowerable == UNSTEADY:
            found.append(f"two runs{where} on the same rows differ: it is not deterministic")
        if any(
            array.dtype.kind == "f" and not np.isfinite(array).all()
            for answer in original.samples.answers
            for array in answer.values()
        ):
            found.append(f"some answers{where} to the samples are not finite numbers")
    return found
