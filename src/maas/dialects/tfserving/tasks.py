"""Classify and Regress: which outputs of a signature they answer with, and the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.messages import InferReply, ModelView
from maas.core.signature import Signature, describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.dialects.labels import LABEL, named

Task = Literal["classify", "regress"]

CLASSES = "classes"
SCORES = "scores"
"""Outputs of a classify signature; `OUTPUTS` is that of a regress signature.

Source: tensorflow/cc/saved_model/signature_constants.h.
"""
OUTPUTS = "outputs"


class Classes(Struct, frozen=True):
    """The answers to a classify request.

    Args:
        labels: of each row, as many as it has scores; empty where the model has no names.
        scores: [rows, classes], FP32 or FP64; 0 where the model gives labels alone, as
            TensorFlow Serving has it.
    """

    labels: list[list[str]]
    scores: np.ndarray


def wanted_outputs(view: ModelView, signature: Signature, task: Task) -> tuple[str, ...]:
    """The outputs of a signature that a task's answer is made of.

    Raises:
        MaasError: INVALID_ARGUMENT where it does not do this, with the reason.
    """
    found = _class_outputs(signature) if task == "classify" else _value_output(signature)
    if found and view.generative is None:
        return tuple(spec.name for spec in found)
    outputs = ", ".join(describe_spec(spec) for spec in signature.outputs)
    needed = (
        "labels or a score for each class"
        if task == "classify"
        else "one number for each row and nothing else"
    )
    regresses = view.generative is None and bool(_value_output(signature))
    other = "regress" if task == "classify" and regresses else "predict"
    raise invalid(
        f"signature {signature.name!r} of {view.servable} cannot {task}: its outputs are "
        f"{outputs}, and {task} needs {needed}; use {other}"
    )


def _class_outputs(signature: Signature) -> list[TensorSpec]:
    """Labels and scores, whichever there are: TensorFlow's names, else ours, else the only one."""
    by_name = {spec.name: spec for spec in signature.outputs}
    classes, scores = by_name.get(CLASSES), by_name.get(SCORES)
    if classes is not None and classes.dtype is not DType.BYTES:
        classes = None
    if scores is not None and not _may_be_scores(scores):
        scores = None
    found = [spec for spec in (classes, scores) if spec is not None]
    if found:
        return found
    named_scores = [s for s in signature.outputs if s.labels is not None and _may_be_scores(s)]
    if named_scores:
        return named_scores[:1]
    labels = [
        spec
        for spec in signature.outputs
        if (spec.name == LABEL or spec.labels is not None) and not spec.dtype.is_float
    ]
    if labels:
        return labels[:1]
    only = signature.outputs[0]
    if len(signature.outputs) == 1 and (not only.dtype.is_float or _is_table(only)):
        return [only]
    return []


def _may_be_scores(spec: TensorSpec) -> bool:
    return spec.dtype.is_float and len(spec.shape) in (0, 2)  # () where the rank is not known


def _is_table(spec: TensorSpec) -> bool:
    return len(spec.shape) == 2 and spec.shape[1] != 1


def _value_output(signature: Signature) -> list[TensorSpec]:
    by_name = {spec.name: spec for spec in signature.outputs}
    found = by_name.get(OUTPUTS)
    if found is None and len(signature.outputs) == 1:
        found = signature.outputs[0]
    if found is None or found.labels is not None:
        return []
    if not (found.dtype.is_float or found.dtype.is_integer):
        return []
    fits = len(found.shape) < 2 or (len(found.shape) == 2 and found.shape[1] in (1, None))
    return [found] if fits else []


def read_classes(reply: InferReply, examples: int) -> Classes:
    """Reads the answers to a classify request.

    Args:
        reply: with the outputs that `wanted_outputs` named.
        examples: how many were sent.

    Raises:
        MaasError: FAILED_PRECONDITION where the outputs are not as the signature says.
    """
    specs = {spec.name: spec for spec in reply.signature.outputs}
    scores = _find(reply.outputs, specs, floats=True)
    labels = _find(reply.outputs, specs, floats=False)
    table = None if scores is None else _rows(reply, scores, examples)
    names = None
    if labels is not None:
        texts = _rows(reply, labels, examples)
        names = [[_text(one) for one in row] for row in texts.tolist()]
    elif scores is not None and table is not None:
        found = specs[scores].labels
        if found is not None and len(found) == table.shape[1]:
            names = [list(found)] * examples
    if table is None:
        assert names is not None
        table = np.zeros((examples, len(names[0])), np.float32)
    if names is None:
        names = [[""] * table.shape[1]] * examples
    if len(names[0]) != table.shape[1]:
        raise _unlike(reply, f"{len(names[0])} labels and {table.shape[1]} scores for a row")
    return Classes(names, _plain_floats(table))


def read_values(reply: InferReply, examples: int) -> np.ndarray:
    """Reads the answers to a regress request.

    Returns:
        [examples], FP32 or FP64.

    Raises:
        MaasError: FAILED_PRECONDITION where the output is not one number for each example.
    """
    [(name, array)] = reply.outputs.items()
    if array.shape not in ((examples,), (examples, 1)):
        raise _unlike(reply, f"{name} {list(array.shape)} for {examples} examples")
    return _plain_floats(array.reshape(-1))


def _find(
    outputs: Mapping[str, np.ndarray], specs: Mapping[str, TensorSpec], *, floats: bool
) -> str | None:
    return next((name for name in outputs if specs[name].dtype.is_float is floats), None)


def _rows(reply: InferReply, name: str, examples: int) -> np.ndarray:
    """An output as [examples, classes], labels by their names."""
    array = reply.outputs[name]
    spec = next(spec for spec in reply.signature.outputs if spec.name == name)
    if array.ndim == 1 and not spec.dtype.is_float:
        array = array.reshape(-1, 1)
    if array.ndim != 2 or len(array) != examples:
        raise _unlike(reply, f"{name} {list(array.shape)} for {examples} examples")
    if spec.labels is not None and spec.dtype.is_integer:
        array = named(array, spec.labels)
    return array


def _text(label: bytes | int | bool) -> str:
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    return str(label).lower() if isinstance(label, bool) else str(label)


def _plain_floats(array: np.ndarray) -> np.ndarray:
    """FP32 and FP64 as they are, narrower floats as FP32, integers as FP64."""
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float64 if array.dtype.kind in "iu" else np.float32)


def _unlike(reply: InferReply, found: str) -> MaasError:
    return MaasError(
        ErrorKind.FAILED_PRECONDITION,
        f"{reply.servable} answered with {found}, which does not fit this method; use predict",
    )
