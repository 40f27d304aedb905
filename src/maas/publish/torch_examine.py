"""Examines PyTorch's exported programs and TorchScript. Runs in the child.

.pt2: scan (nothing runs) → load → samples drawn from its specs ─┐
TorchScript (--trust): load → samples given, which say its types ─┴─▶ lower → prove
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from maas.core.errors import MaasError, invalid
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish.messages import Emit, Finding, Job
from maas.publish.sample_file import MOST_BYTES
from maas.publish.tf_prove import UNSTEADY, Lower, Native, Original, is_steady, prove
from maas.publish.tf_samples import Hint, collect_samples
from maas.publish.torch_lower import lower_pt2, lower_torchscript
from maas.publish.torch_scan import scan_pt2
from maas.publish.versions import read_with
from maas.runtimes.torch import ENTRIES, TorchRuntime
from maas.runtimes.torch_model import (
    TorchProgram,
    TorchServable,
    answer,
    open_pt2,
    open_torchscript,
)
from maas.runtimes.torch_process import import_torch


def examine_pt2(job: Job, emit: Emit) -> Finding:
    """Takes an exported program to what will be served: ONNX where that is proven.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "looking through the program before PyTorch opens it", 0.1)
    import_torch(job.threads)
    checked = Path(job.artifact) / ENTRIES["pt2"]
    written = scan_pt2(Path(job.source), checked)
    emit("inspect", "loading it with PyTorch", 0.2)
    program = open_pt2(checked, job.threads)
    if not program.inputs:
        raise invalid("the program takes no tensors; expected at least one")
    signature = Signature(DEFAULT_SIGNATURE, program.inputs, program.outputs, batched=False)
    return _examine(
        program, signature, partial(lower_pt2, program), _hints(program), written, job, emit
    )


def examine_torchscript(job: Job, emit: Emit) -> Finding:
    """Takes TorchScript to what will be served: ONNX where that is proven.

    Raises:
        MaasError: one sentence that says what is wrong with it, or that it needs a sample.
    """
    emit("scan", "looking at the sample", 0.1)
    import_torch(job.threads)
    emit("inspect", "loading it with PyTorch", 0.2)
    file = Path(job.artifact) / ENTRIES["torchscript"]
    shutil.copyfile(job.source, file)
    program = open_torchscript(file, job.threads)
    arrays = _given(job, program.names)
    inputs, answers = _answered(program, arrays)
    outputs = tuple(
        TensorSpec(name, DType.of(array.dtype), _open(array.shape, inputs))
        for name, array in answers.items()
    )
    signature = Signature(DEFAULT_SIGNATURE, inputs, outputs, batched=False)

    def lower(wanted: Signature) -> bytes:
        import torch

        tensors = [
            torch.from_numpy(np.array(arrays[spec.name][:2]).astype(spec.dtype.numpy))
            if spec.dtype is not DType.BF16
            else torch.from_numpy(np.asarray(arrays[spec.name][:2], np.float32)).bfloat16()
            for spec in wanted.inputs
        ]
        return lower_torchscript(program, tensors, wanted)

    return _examine(program, signature, lower, {}, {}, job, emit)


def _examine(
    program: TorchProgram,
    signature: Signature,
    lower: Lower,
    hints: Mapping[str, Hint],
    written_with: dict[str, str],
    job: Job,
    emit: Emit,
) -> Finding:
    entry = ENTRIES[job.format]
    servable = TorchServable({DEFAULT_SIGNATURE: signature}, program.run)
    samples = collect_samples(
        lambda rows: servable.infer(DEFAULT_SIGNATURE, rows), signature.inputs, hints, job
    )
    steady = is_steady(servable, DEFAULT_SIGNATURE, samples)
    original = Original(signature, lower, "" if steady else UNSTEADY, samples)

    def store(native: bool) -> None:
        if not native:
            (Path(job.artifact) / entry).unlink()

    native = Native(TorchRuntime(), "PyTorch", job.format, entry, store)
    proved = prove([original], native, servable, job, emit)
    return Finding(
        engine=proved.engine,
        format=proved.format,
        entry=proved.entry,
        signatures=proved.signatures,
        lowered=proved.lowered,
        reason=proved.reason,
        written_with=written_with,
        read_with=read_with("torch", "onnxscript", "onnxruntime"),
        parity=proved.parity,
        batch_note=proved.batch_note,
        timings=proved.timings,
        warnings=proved.warnings,
    )


def _hints(program: TorchProgram) -> dict[str, Hint]:
    """How many rows the embedding has that an input of indices looks into."""
    found: dict[str, Hint] = {}
    for node in program.loaded.graph.nodes:
        if str(node.target) == "aten.embedding.default":
            weight, indices = node.args[:2]
            if indices.name in program.names:
                rows = min(int(weight.meta["val"].shape[0]), found.get(indices.name, _ANY).high)
                found[indices.name] = Hint("index", high=rows)
    return found


_ANY = Hint("index", high=1 << 31)


def _given(job: Job, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The sample's arrays, by input.

    Raises:
        MaasError: INVALID_ARGUMENT where there is none, or none for an input.
    """
    listed = ", ".join(repr(name) for name in names[:20])
    how = (
        f"TorchScript does not say what its inputs hold: publish it with --sample and rows for "
        f"{listed} (a .npz with an array for each, or a .npy for one)"
    )
    if not job.sample:
        raise invalid(how)
    path = Path(job.sample)
    if path.stat().st_size > MOST_BYTES:
        raise invalid("the sample file is larger than 256 MiB")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            loaded = {names[0]: loaded}
        arrays = {name: np.asarray(loaded[name]) for name in loaded}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise invalid(how) from error
    if len(names) == 1 and len(arrays) == 1:
        arrays = {names[0]: next(iter(arrays.values()))}
    missing = [name for name in names if name not in arrays or not arrays[name].size]
    if missing:
        raise invalid(f"the sample has no rows for {missing[0]!r}; {how}")
    return {name: arrays[name] for name in names}


def _answered(
    program: TorchProgram, arrays: dict[str, np.ndarray]
) -> tuple[tuple[TensorSpec, ...], dict[str, np.ndarray]]:
    """Specs under which the program answers the sample, and its answers.

    Numbers of 64 bits, as NumPy makes them, are tried as 32 bits first: so PyTorch has its weights.

    Raises:
        MaasError: INVALID_ARGUMENT where it answers under none.
    """
    rows = {array.shape[:1] for array in arrays.values()}
    open_rows = len(rows) == 1 and rows != {()}
    tries: list[Callable[[DType], DType]] = [_narrow, lambda dtype: dtype]
    reason = ""
    for narrow in tries:
        specs = tuple(
            TensorSpec(
                name,
                narrow(DType.of(array.dtype)),
                (None, *array.shape[1:]) if open_rows else array.shape,
            )
            for name, array in arrays.items()
        )
        given = {s.name: arrays[s.name].astype(s.dtype.numpy) for s in specs}
        try:
            return specs, answer(program.run, specs, given)
        except MaasError as error:
            reason = reason or error.message
    raise invalid(f"the model does not answer the given sample: {reason}")


def _narrow(dtype: DType) -> DType:
    return DType.FP32 if dtype is DType.FP64 else dtype


def _open(shape: tuple[int, ...], inputs: tuple[TensorSpec, ...]) -> tuple[int | None, ...]:
    """An output's sizes: its first axis is any where that of the inputs is."""
    if shape and all(spec.shape[:1] == (None,) for spec in inputs):
        return (None, *shape[1:])
    return shape
