"""Gives a PyTorch or XGBoost model the names that Triton's clients call it by.

Such files know no names of tensors, so Triton numbers them: `INPUT__0`, `input__0`, `OUTPUT__1`.
The ONNX form that a model was lowered to is given those names; PyTorch itself goes by position.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from maas.core.errors import MaasError, invalid
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish.detect_folder import CONFIG
from maas.publish.folder_inner import given_folder
from maas.publish.messages import Finding, Job
from maas.publish.onnx_ends import name_ends
from maas.publish.onnx_samples import draw_inputs
from maas.publish.sample_file import MOST_BYTES
from maas.publish.triton_config import specs_of
from maas.publish.triton_folder import TritonFolder
from maas.runtimes.tensorfile import ANSWERS, PROVING, SAMPLES, read_tensors, write_tensors

NUMBERED = frozenset({"pytorch", "fil"})
"""Backends whose models know no names."""
ROWS = 64
_NUMBER = re.compile(r"__([0-9]{1,4})$")


def in_order(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Tensors by the numbers at the ends of their names, where all have one; else as they are."""
    numbers = {}
    for spec in specs:
        found = _NUMBER.search(spec.name)
        if found is None:
            return specs
        numbers[spec.name] = int(found[1])
    return tuple(sorted(specs, key=lambda spec: numbers[spec.name]))


def torch_sample(model: TritonFolder, job: Job) -> Job:
    """The job with rows for TorchScript, which does not say itself what it takes.

    Rows that were given are renamed; else they are drawn in the sizes of the configuration.

    Raises:
        MaasError: INVALID_ARGUMENT where the configuration has other inputs than the model.
    """
    from maas.runtimes.torch_model import answer, open_torchscript

    program = open_torchscript(model.file, job.threads)
    specs = in_order(specs_of(model, model.config.input))
    if not specs:
        return job
    if len(specs) != len(program.names):
        raise _other_count("inputs", len(specs), len(program.names))
    names = {spec.name: own for spec, own in zip(specs, program.names, strict=True)}
    if job.sample:
        rows = _given(Path(job.sample), names)
        return job if rows is None else _with(job, rows)
    symbols = {
        spec.name: tuple(
            "n" if model.batches and axis == 0 else "" for axis in range(len(spec.shape))
        )
        for spec in specs
    }
    reason = "its dims are too large to guess"
    for attempt in draw_inputs(specs, symbols, ROWS, np.random.default_rng(0)):
        try:
            answer(program.run, specs, attempt)
        except MaasError as error:
            reason = error.message
        else:
            return _with(job, {names[name]: array for name, array in attempt.items()})
    raise invalid(f"no drawn sample was answered ({reason}); publish it with --sample")


def _given(file: Path, names: Mapping[str, str]) -> dict[str, np.ndarray] | None:
    """A sample under the model's own names; None where it does not have the configuration's."""
    if file.stat().st_size > MOST_BYTES or not zipfile.is_zipfile(file):
        return None
    with np.load(file, allow_pickle=False) as archive:
        if set(archive.files) != set(names):
            return None
        return {names[name]: archive[name] for name in archive.files}


def _with(job: Job, rows: Mapping[str, np.ndarray]) -> Job:
    file = given_folder(job) / "triton.npz"
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in rows.items():
            with archive.open(f"{name}.npy", "w") as stream:
                np.save(stream, array)
    return msgspec.structs.replace(job, sample=str(file), sample_name=file.name)


def rename(model: TritonFolder, finding: Finding, job: Job) -> Finding:
    """The finding with the configuration's names, where it names its tensors.

    Args:
        model: its configuration.
        finding: under the model's own names.
        job: its artifact and its samples are renamed, too.

    Raises:
        MaasError: INVALID_ARGUMENT where the configuration has other tensors than the model.
    """
    main = finding.signatures[DEFAULT_SIGNATURE]
    inputs = _renamed("inputs", in_order(specs_of(model, model.config.input)), main.inputs)
    said = in_order(specs_of(model, model.config.output))
    own = _chosen(model, main.outputs) if said else main.outputs
    outputs = _renamed("outputs", said, own)
    columns = {
        spec.name
        for spec, wanted in zip(own, said, strict=False)
        if model.backend == "fil" and len(wanted.shape) == 2 and len(spec.shape) == 1
    }
    outputs = tuple(
        msgspec.structs.replace(new, dtype=DType.FP32, shape=(*new.shape, 1))
        if spec.name in columns
        else new
        for spec, new in zip(own, outputs, strict=True)
    )
    signature = Signature(main.name, inputs, outputs, main.batched)
    if signature == main:
        return finding
    if finding.format != "onnx":
        if finding.engine != "torch":
            note = f"calls use the model's own names, not those of {CONFIG}: {finding.reason}"
            return msgspec.structs.replace(finding, warnings=(*finding.warnings, note))
        proving = Path(job.artifact) / PROVING
        if proving.is_file():
            _rename_tensors(proving, main.inputs, signature.inputs)
    else:
        _rename_graph(Path(job.artifact) / finding.entry, main.inputs, own, columns, signature)
        _rename_tensors(Path(job.work) / SAMPLES, main.inputs, signature.inputs)
        _rename_tensors(Path(job.work) / ANSWERS, own, signature.outputs)
    return msgspec.structs.replace(finding, signatures={main.name: signature})


def _renamed(
    what: str, said: tuple[TensorSpec, ...], own: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    if not said:
        return own
    if len(said) != len(own):
        raise _other_count(what, len(said), len(own))
    return tuple(
        msgspec.structs.replace(spec, name=wanted.name)
        for wanted, spec in zip(said, own, strict=True)
    )


def _chosen(model: TritonFolder, own: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """What the fil backend would answer with, by its parameters; of any other, everything."""
    if model.backend != "fil":
        return own
    by_name = {spec.name: spec for spec in own}
    if "probabilities" not in by_name:
        return own[:1]
    parameters = model.config.parameters
    for parameter, name in (("predict_proba", "probabilities"), ("output_class", "label")):
        if parameter in parameters and parameters[parameter].string_value.lower() == "true":
            return (by_name[name],)
    raise invalid(
        f"{CONFIG} asks the fil backend for raw margins, which are not given here; set the "
        "parameter predict_proba or output_class to true"
    )


def _other_count(what: str, said: int, own: int) -> MaasError:
    return invalid(f"{CONFIG} has {said} {what} where the model has {own}; correct it")


def _rename_graph(
    file: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    columns: set[str],
    signature: Signature,
) -> None:
    """Gives the graph's ends their names; those in `columns` become FP32 [n, 1]."""
    from onnx import TensorProto, helper, load

    model: Any = load(file, load_external_data=False)
    ends = []
    for spec in outputs:
        name = spec.name
        if name in columns:
            shape = helper.make_tensor(f"{name}__shape", TensorProto.INT64, [2], [-1, 1])
            model.graph.initializer.append(shape)
            model.graph.node.extend(
                (
                    helper.make_node("Cast", [name], [f"{name}__cast"], to=TensorProto.FLOAT),
                    helper.make_node(
                        "Reshape", [f"{name}__cast", f"{name}__shape"], [f"{name}__column"]
                    ),
                )
            )
            name = f"{name}__column"
        ends.append(name)
    name_ends(
        model,
        {old.name: new.name for old, new in zip(inputs, signature.inputs, strict=True)},
        {old: new.name for old, new in zip(ends, signature.outputs, strict=True)},
        signature,
    )
    file.write_bytes(model.SerializeToString())


def _rename_tensors(
    file: Path, own: tuple[TensorSpec, ...], wanted: tuple[TensorSpec, ...]
) -> None:
    tensors = read_tensors(file)[DEFAULT_SIGNATURE]
    found = {}
    for old, new in zip(own, wanted, strict=True):
        array = tensors[old.name].astype(new.dtype.numpy, copy=False)
        found[new.name] = array[:, None] if array.ndim < len(new.shape) else array
    write_tensors(file, {DEFAULT_SIGNATURE: found})
