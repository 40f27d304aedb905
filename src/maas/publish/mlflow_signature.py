"""Holds an MLflow signature against what the model turned out to take; names its columns."""

from __future__ import annotations

import msgspec

from maas.core.errors import MaasError, invalid
from maas.core.signature import Signature, describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.publish.mlflow_model import Field, MlflowSignature
from maas.publish.sklearn_signature import MOST_NAMES

TEXTS = frozenset({"string", "binary", "datetime"})
NESTED = frozenset({"array", "map", "object"})
NAMED = 6
"""Names that a sentence shows."""


def name_inputs(said: MlflowSignature, main: Signature) -> tuple[Signature, tuple[str, ...]]:
    """The model's signature with the columns that MLflow's gives names to.

    The model is right about itself: it was run. What MLflow's signature says otherwise is noted,
    and refused where no call could be right by both.

    Args:
        said: MLflow's, perhaps empty.
        main: found by running the model.

    Returns:
        The signature, and what differs, a sentence each.

    Raises:
        MaasError: INVALID_ARGUMENT where the two have other numbers of columns, axes or sizes.
    """
    notes: tuple[str, ...] = ()
    if said.params:
        names = ", ".join(said.params[:NAMED])
        notes = (f"the parameters of its signature ({names}) keep their defaults",)
    if not said.inputs:
        return main, notes
    if said.is_table:
        inputs, found = _columns(said.inputs, main.inputs)
    else:
        inputs, found = main.inputs, _tensors(said.inputs, main.inputs)
    return msgspec.structs.replace(main, inputs=inputs), (*notes, *found)


def _columns(
    fields: tuple[Field, ...], inputs: tuple[TensorSpec, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    names = tuple(field.label for field in fields)
    if len(inputs) > 1 or inputs[0].name in names:
        return inputs, _by_name(names, inputs)
    (spec,) = inputs
    if len(spec.shape) == 1 and len(fields) == 1:
        return inputs, ()
    if any(field.type in NESTED for field in fields):
        return inputs, (f"the columns of its signature hold lists; calls give {spec.name!r}",)
    if len(spec.shape) != 2 or spec.shape[1] not in (None, len(fields)):
        raise _contradicts(f"{len(fields)} columns", spec)
    texts = any(field.type in TEXTS for field in fields)
    notes = []
    if texts != (spec.dtype is DType.BYTES):
        notes.append(
            f"the signature in MLmodel has {'columns of texts' if texts else 'no texts'} where the "
            f"model takes {describe_spec(spec)}"
        )
    if spec.labels is None:
        known = names if all(names) and len(names) <= MOST_NAMES else None
        return (msgspec.structs.replace(spec, labels=known),), tuple(notes)
    if set(spec.labels) != set(names):
        other = sorted(set(names) ^ set(spec.labels))
        notes.append(
            "the signature in MLmodel names other columns than the model was fitted on "
            f"({_some(other)}); calls use the model's"
        )
    return inputs, tuple(notes)


def _by_name(names: tuple[str, ...], inputs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    """What the model takes by name and the signature does not have, and the other way round."""
    own = {spec.name for spec in inputs}
    notes = []
    if missing := sorted(own - set(names)):
        notes.append(f"the model takes {_some(missing)}, which the signature in MLmodel lacks")
    if more := sorted(set(names) - own):
        notes.append(f"the model does not look at {_some(more)} of the signature in MLmodel")
    return tuple(notes)


def _tensors(fields: tuple[Field, ...], inputs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    if len(fields) == len(inputs) == 1:
        _check_sizes(fields[0], inputs[0])
        name = fields[0].label
        if name and name != inputs[0].name:
            return (f"calls name its input {inputs[0].name!r}, not {name!r} as its signature does",)
        return ()
    own = {spec.name: spec for spec in inputs}
    for field in fields:
        if field.label in own:
            _check_sizes(field, own[field.label])
    return _by_name(tuple(field.label or "a tensor without a name" for field in fields), inputs)


def _check_sizes(field: Field, spec: TensorSpec) -> None:
    assert field.tensor is not None
    said = tuple(None if size == -1 else size for size in field.tensor.shape)
    fits = len(said) == len(spec.shape) and all(
        a == b or a is None or b is None for a, b in zip(said, spec.shape, strict=True)
    )
    if not fits:
        raise _contradicts(f"a tensor of shape {list(field.tensor.shape)[:8]}", spec)


def _contradicts(said: str, spec: TensorSpec) -> MaasError:
    return invalid(
        f"the signature in MLmodel has {said} where the model takes {describe_spec(spec)}; save it "
        "again with a signature of what it takes"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(name[:40] for name in names[:NAMED]) + more
