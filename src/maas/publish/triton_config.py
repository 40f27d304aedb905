"""Holds what `config.pbtxt` says against the model: names, types, sizes; and reads its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature, describe_spec
from maas.core.tensor import TensorSpec
from maas.publish.detect_folder import CONFIG, inside
from maas.publish.pbtxt import dtype_of
from maas.publish.triton_folder import TritonFolder

MOST_LABELS = 1 << 20
"""Bytes of a file of labels."""


def specs_of(model: TritonFolder, tensors: Any) -> tuple[TensorSpec, ...]:
    """The tensors as a caller of Triton sees them: with the batch axis, where there is one.

    Args:
        model: says whether there is one.
        tensors: `config.input` or `config.output`.

    Raises:
        MaasError: INVALID_ARGUMENT for one without a name, a type, or with an impossible size.
    """
    found = []
    for tensor in tensors:
        name = tensor.name
        if not name or not name.isprintable():
            raise invalid(f"{CONFIG} has a tensor without a name; expected one")
        if any(size < -1 or size == 0 for size in tensor.dims):
            raise invalid(
                f"{CONFIG} gives {name[:60]!r} dims {list(tensor.dims)[:8]}; expected sizes from "
                "1 on, or -1 where any size goes"
            )
        dims = tuple(None if size == -1 else int(size) for size in tensor.dims)
        shape = (None, *dims) if model.batches else dims
        found.append(TensorSpec(name, dtype_of(model.config, tensor), shape))
    if len({spec.name for spec in found}) != len(found):
        raise invalid(f"{CONFIG} gives two tensors one name; name them apart")
    return tuple(found)


def check_config(model: TritonFolder, signature: Signature) -> None:
    """Compares the configuration with what the model turned out to take and give.

    What it leaves out is as the model has it: Triton completes it, too.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the tensor and both sides.
    """
    _compare("input", specs_of(model, model.config.input), signature.inputs)
    _compare("output", specs_of(model, model.config.output), signature.outputs)


def _compare(what: str, said: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]) -> None:
    by_name = {spec.name: spec for spec in found}
    for spec in said:
        own = by_name.get(spec.name)
        if own is None:
            raise invalid(
                f"{CONFIG} has an {what} {spec.name[:60]!r}, which the model does not have; it has "
                f"{', '.join(map(describe_spec, found[:8]))}"
            )
        if spec.dtype is not own.dtype or not _may_be(spec.shape, own.shape):
            raise invalid(
                f"{CONFIG} says {describe_spec(spec)} where the model has {describe_spec(own)}; "
                "correct dims, data_type or max_batch_size"
            )
    missing = sorted(by_name.keys() - {spec.name for spec in said}) if what == "input" else []
    if said and missing:
        raise invalid(
            f"{CONFIG} leaves out the input {missing[0][:60]!r}, which the model needs; add it"
        )


def _may_be(said: tuple[int | None, ...], own: tuple[int | None, ...]) -> bool:
    return len(said) == len(own) and all(
        a == b or a is None or b is None for a, b in zip(said, own, strict=True)
    )


def with_labels(
    model: TritonFolder, outputs: tuple[TensorSpec, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """The outputs with the class names of their `label_filename`.

    Returns:
        The outputs, and a sentence for each whose labels do not fit.

    Raises:
        MaasError: as `inside`; INVALID_ARGUMENT for a file that is no text, TOO_LARGE.
    """
    files = {tensor.name: tensor.label_filename for tensor in model.config.output}
    found, notes = [], []
    for spec in outputs:
        name = files.get(spec.name, "")
        if not name:
            found.append(spec)
            continue
        labels = _labels(inside(model.folder, name, CONFIG), name)
        last = spec.shape[-1] if spec.shape else None
        if spec.dtype.is_float and last is not None and last != len(labels):
            notes.append(
                f"{name[:60]} has {len(labels)} labels where output {spec.name[:60]!r} has {last} "
                "scores; they are left out"
            )
            found.append(spec)
        else:
            found.append(msgspec.structs.replace(spec, labels=labels))
    return tuple(found), tuple(notes)


def _labels(file: Path, name: str) -> tuple[str, ...]:
    if not file.is_file():
        raise invalid(f"{CONFIG} names {name[:60]!r}, which is no file; expected a label a line")
    if file.stat().st_size > MOST_LABELS:
        raise MaasError(ErrorKind.TOO_LARGE, f"{name[:60]!r} is larger than 1 MiB")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise invalid(f"{name[:60]!r} is not UTF-8 text; expected a label a line") from None
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)
