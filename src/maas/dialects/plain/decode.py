"""A plain call's body → arrays."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.signature import Signature, check_inputs, describe_inputs
from maas.core.tensor import Tensors, TensorSpec
from maas.dialects.tensorjson.arrays import to_array
from maas.dialects.tensorjson.document import Document, is_base64, is_object, read

VALUE_KEYS = ("input_data", "input_text", "text")
"""Keys under which a value is sent without naming the model's input."""
MODEL_KEY = "model"


class PlainDocument(Struct, frozen=True):
    """A plain call's body, read, before it is known which model answers it.

    Args:
        document: the body.
        model: what its `model` says, where it is a string.
        texts: whether it asks through `input_text` or `text`.
        writes: whether it asks through `input_text`, as language models are asked.
    """

    document: Document
    model: str | None
    texts: bool
    writes: bool


class PlainRequest(Struct, frozen=True):
    """One plain prediction.

    Args:
        inputs: arrays of the signature's dtypes and shapes.
        rows: as `check_inputs` counts them.
        unbatch: every value came one rank short, so the answer loses its batch axis again.
        named: the question names the model's inputs, so the answer names its outputs.
    """

    inputs: Tensors
    rows: int
    unbatch: bool
    named: bool


def parse(body: bytes) -> PlainDocument:
    """Reads a body.

    Raises:
        MaasError: INVALID_ARGUMENT or TOO_LARGE, as `tensorjson.document.read`.
    """
    document = read(body)
    root = document.root
    model = root.get(MODEL_KEY)
    return PlainDocument(
        document,
        model if isinstance(model, str) else None,
        "text" in root or "input_text" in root,
        "input_text" in root,
    )


def decode(plain: PlainDocument, signature: Signature) -> PlainRequest:
    """Reads a body's values as a signature's inputs.

    Values stand under the names of the inputs, or one of `VALUE_KEYS` holds the value of the only
    input, or an object of named ones. `model` is ignored unless an input is called so. A value
    one rank short gets its batch axis. For an input of shape [n, 1] a flat list is a column, one
    row for each element, and a bare value is one row.

    Raises:
        MaasError: INVALID_ARGUMENT for a missing or unknown input, or as `to_array` and
            `check_inputs`.
    """
    document, specs = plain.document, signature.inputs
    members = document.root
    names = [name for name in members if name != MODEL_KEY or _has(specs, name)]
    general = names[0] if len(names) == 1 and names[0] in VALUE_KEYS else ""
    named = not general
    if general:
        value = members[general]
        if is_object(value) and not is_base64(value):
            members, names, general = value, list(value), ""
        elif len(specs) > 1:
            raise invalid(
                f"{general} holds one value and the model has {len(specs)} inputs; send an object "
                f"with each under its name: {describe_inputs(signature)}"
            )
    if not general:
        _check_names(names, signature)
    inputs: dict[str, np.ndarray] = {}
    unbatch = True
    for spec in specs:
        key = general or spec.name
        what = general or f"input {key!r}"
        array = to_array(document, members[key], spec, what, document.outlines(key, 1)[0])
        inputs[spec.name], added = _with_batch_axis(array, spec)
        unbatch = unbatch and added
    return PlainRequest(inputs, check_inputs(signature, inputs), unbatch, named)


def _check_names(names: list[str], signature: Signature) -> None:
    """Checks names before any is looked up: simdjson finds no key that holds a NUL."""
    for name in sorted(names, key=VALUE_KEYS.__contains__):  # a stranger beside them is the mistake
        if not _has(signature.inputs, name):
            raise invalid(
                f"there is no input {name[:80]!r}; {describe_inputs(signature)}, each under its "
                f"name, or the value of an only input under {VALUE_KEYS[0]}"
            )
    for spec in signature.inputs:
        if spec.name not in names:
            raise invalid(f"input {spec.name!r} is missing; {describe_inputs(signature)}")


def _has(specs: tuple[TensorSpec, ...], name: str) -> bool:
    return any(spec.name == name for spec in specs)


def _with_batch_axis(array: np.ndarray, spec: TensorSpec) -> tuple[np.ndarray, bool]:
    """Adds the batch axis where a value came without; says whether it did."""
    rank, want = array.ndim, len(spec.shape)
    if rank == want:
        return array, False
    if spec.shape == (None, 1):
        if rank == 1:
            return array.reshape(-1, 1), False
        if rank == 0:
            return array.reshape(1, 1), True
    if rank == want - 1 and spec.shape[0] in (None, 1):
        return array[np.newaxis], True
    return array, False
