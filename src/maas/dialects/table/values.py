"""A JSON value without a name → a signature's inputs: rows of named columns, or one array."""

from __future__ import annotations

from typing import Any

import numpy as np

from maas.core.errors import invalid
from maas.core.signature import Signature, describe_inputs
from maas.core.tensor import TensorSpec
from maas.dialects.table.columns import Table, read_table, with_batch_axis
from maas.dialects.tensorjson.arrays import to_array
from maas.dialects.tensorjson.document import Document, is_array, is_base64, is_object

MOST_CELLS = 1 << 22
"""Most cells of a table made from objects: each object may name a column of its own."""


def read_array_or_records(
    document: Document, key: str, value: Any, signature: Signature
) -> dict[str, np.ndarray]:
    """Reads a list of objects as rows of named columns, another value as the only input's.

    Args:
        document: what it is part of.
        key: under which it stands there.
        value: of the document.
        signature: of the model.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if is_array(value) and len(value) and is_object(value[0]) and not is_base64(value[0]):
        return read_table(records_table(python_list(document, value, key), key), signature)
    spec = only_input(signature, key, "objects with each value under its input's name")
    array = to_array(document, value, spec, key, document.outlines(key, 1)[0])
    return {spec.name: with_batch_axis(array, spec)}


def records_table(records: list[Any], what: str) -> Table:
    """Makes columns of objects; where one lacks a key that another has, its cell is missing.

    Raises:
        MaasError: INVALID_ARGUMENT where one is no object.
    """
    names: dict[str, None] = {}
    for index, record in enumerate(records):
        if not is_object(record):
            raise invalid(f"{what}[{index}] is no object; expected one object for each row")
        names.update(dict.fromkeys(record))
    if not names:
        raise invalid(f"{what} has no rows with columns; send at least one")
    if len(names) * len(records) > MOST_CELLS:
        raise invalid(f"{what} has {len(names)} different keys in {len(records)} rows; too many")
    return Table(tuple(names), [[record.get(name) for record in records] for name in names])


def python_list(document: Document, value: Any, what: str) -> list[Any]:
    """A value that must be a list, as Python objects.

    Raises:
        MaasError: INVALID_ARGUMENT, TOO_LARGE.
    """
    if not is_array(value):
        raise invalid(f"{what} must be a list of rows")
    rows: list[Any] = document.python(value)
    return rows


def only_input(signature: Signature, what: str, instead: str) -> TensorSpec:
    """The input that a value without a name is for.

    Raises:
        MaasError: INVALID_ARGUMENT where the model has several, saying what to send instead.
    """
    if len(signature.inputs) == 1:
        return signature.inputs[0]
    raise invalid(
        f"{what} holds one value and the model has {len(signature.inputs)} inputs; send "
        f"{instead}: {describe_inputs(signature)}"
    )
