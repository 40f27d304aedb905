"""Examples, the rows of Classify and Regress → a signature's inputs.

An example has values under the names of features. A signature that a SavedModel made for Classify
or Regress takes examples as TensorFlow serialises them, and the model picks its features out
itself. Every other signature takes tensors: then a feature is an input of its name, flat, or a
column of the only input where that is a table whose columns have names. Features that nothing
asks for are left alone, as `tf.io.parse_example` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature, describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tensorjson.document import MAX_OBJECTS
from maas.dialects.tensorjson.leaves import leaves_to_array

MOST_BYTES = 64 << 20
"""Of all serialised examples together, the context being part of each."""
LISTED = 8

Values = Sequence[Any]
"""Of one feature of one example: numbers, booleans or bytes."""


class Examples(Struct, frozen=True):
    """The rows of one request, in whichever form they came.

    Args:
        rows: one each.
        context: whose features belong to every row that has none of their names; None for none.
        values: (row, its place for the errors, feature) → its values; None where it has no such
            feature.
        serialise: (row, its place) → the bytes of a `tensorflow.Example`.
    """

    rows: Sequence[Any]
    context: Any
    values: Callable[[Any, str, str], Values | None]
    serialise: Callable[[Any, str], bytes]

    def find(self, index: int, feature: str) -> Values | None:
        """The values of a feature in one row: its own, else the context's."""
        found = self.values(self.rows[index], f"examples[{index}]", feature)
        if found is None and self.context is not None:
            found = self.values(self.context, "the context", feature)
        return found


def to_inputs(signature: Signature, examples: Examples) -> dict[str, np.ndarray]:
    """The arrays that a signature takes, one row for each example.

    Raises:
        MaasError: INVALID_ARGUMENT for no examples, a feature that is missing, of another size or
            of values that do not fit, or a signature without an axis of rows; TOO_LARGE.
    """
    if not examples.rows:
        raise invalid("there are no examples; send at least one")
    if signature.method != "predict":
        return {signature.inputs[0].name: _serialised(examples)}
    for spec in signature.inputs:
        if not spec.shape or spec.shape[0] is not None:
            raise invalid(
                f"the model takes {describe_spec(spec)}, which has no axis of rows, and so cannot "
                "be called with examples; use predict"
            )
    columns = _columns(signature, examples)
    if columns is not None:
        return {signature.inputs[0].name: columns}
    return {spec.name: _feature(spec, signature, examples) for spec in signature.inputs}


def _serialised(examples: Examples) -> np.ndarray:
    """Each example behind the context: where both have a feature, a reader takes the later."""
    first = b""
    if examples.context is not None:
        first = examples.serialise(examples.context, "the context")
    array = np.empty(len(examples.rows), np.object_)
    size = 0
    for index, row in enumerate(examples.rows):
        array[index] = first + examples.serialise(row, f"examples[{index}]")
        size += len(array[index])
        if size > MOST_BYTES:
            raise _too_large(f"take more than {MOST_BYTES >> 20} MiB")
    return array


def _columns(signature: Signature, examples: Examples) -> np.ndarray | None:
    """The only input, column by column; None where it is no table or comes under its own name."""
    spec = signature.inputs[0]
    if len(signature.inputs) > 1 or spec.labels is None or len(spec.shape) != 2:
        return None
    if examples.find(0, spec.name) is not None:
        return None
    _check_size(len(examples.rows), len(spec.labels))
    leaves: list[Any] = []
    for index in range(len(examples.rows)):
        for column in spec.labels:
            values = examples.find(index, column)
            if values is None:
                raise _missing(index, column, signature)
            if len(values) != 1:
                raise _other_length(index, column, len(values), 1, signature)
            leaves += values
    return _array(leaves, (len(examples.rows), len(spec.labels)), spec, "the examples")


def _feature(spec: TensorSpec, signature: Signature, examples: Examples) -> np.ndarray:
    tail = spec.shape[1:]
    if sum(size is None for size in tail) > 1:
        raise invalid(
            f"the model takes {describe_spec(spec)}, and a feature's values are one flat list; "
            "use predict"
        )
    name = spec.name
    fixed = math.prod(size for size in tail if size is not None)
    length = None if None in tail else fixed
    leaves: list[Any] = []
    size = 0
    for index in range(len(examples.rows)):
        values = examples.find(index, name)
        if values is None:
            raise _missing(index, name, signature)
        if length is None:
            if len(values) % max(fixed, 1):
                raise _other_length(index, name, len(values), fixed, signature, "a multiple of ")
            length = len(values)
        if len(values) != length:
            raise _other_length(index, name, len(values), length, signature)
        if not index:
            _check_size(len(examples.rows), length)
        if spec.dtype is DType.BYTES:
            # The context's are those of every row.
            size += sum([len(value) for value in values if type(value) is bytes])
            if size > MOST_BYTES:
                raise _too_large(f"take more than {MOST_BYTES >> 20} MiB")
        leaves += values
    assert length is not None
    open_size = length // fixed if fixed else 0
    shape = [open_size if size is None else size for size in tail]
    return _array(leaves, (len(examples.rows), *shape), spec, f"feature {name!r}")


def _array(leaves: list[Any], shape: Sequence[int], spec: TensorSpec, what: str) -> np.ndarray:
    """Values of a feature → the spec's dtype.

    A feature knows numbers and bytes alone: 1 and true are the same to it.
    """
    kinds = set(map(type, leaves))
    if spec.dtype is DType.BYTES:
        if not kinds <= {bytes}:
            raise invalid(f"{what} holds numbers; expected strings for {describe_spec(spec)}")
        array = np.empty(len(leaves), np.object_)
        array[:] = leaves
        return array.reshape(shape)
    if bytes in kinds:
        raise invalid(f"{what} holds strings; expected numbers for {describe_spec(spec)}")
    if spec.dtype is DType.BOOL:
        leaves = [bool(leaf) if type(leaf) is int and leaf in (0, 1) else leaf for leaf in leaves]
    elif bool in kinds and spec.dtype.is_integer:
        leaves = [int(leaf) if type(leaf) is bool else leaf for leaf in leaves]
    return leaves_to_array(leaves, shape, spec, what)


def _check_size(rows: int, length: int) -> None:
    if rows * length > MAX_OBJECTS:
        raise _too_large(f"hold more than {MAX_OBJECTS} values")


def _too_large(what: str) -> MaasError:
    return MaasError(
        ErrorKind.TOO_LARGE, f"the examples {what}; send fewer of them, or tensors to predict"
    )


def _missing(index: int, feature: str, signature: Signature) -> MaasError:
    return invalid(f"examples[{index}] has no feature {feature!r}; {_describe(signature)}")


def _other_length(
    index: int, feature: str, found: int, wanted: int, signature: Signature, kind: str = ""
) -> MaasError:
    return invalid(
        f"feature {feature!r} of examples[{index}] has {found} values; expected {kind}{wanted}: "
        + _describe(signature)
    )


def _describe(signature: Signature) -> str:
    """Says which features are expected, and how long they are."""
    only = signature.inputs[0]
    if len(signature.inputs) == 1 and only.labels is not None and len(only.shape) == 2:
        more = len(only.labels) - LISTED
        names = ", ".join(only.labels[:LISTED]) + (f" and {more} more" if more > 0 else "")
        return (
            f"expected a value for each of {names} in every example, or all of them under "
            f"{only.name!r}"
        )
    parts = []
    for spec in signature.inputs:
        sizes = "×".join("n" if size is None else str(size) for size in spec.shape[1:])
        parts.append(f"{spec.name} {spec.dtype} ({sizes or 'one'} each)")
    return f"expected the features {', '.join(parts)} in every example"
