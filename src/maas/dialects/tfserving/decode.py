"""A predict request's body → arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.messages import ModelView
from maas.core.signature import Signature, check_inputs, describe_inputs
from maas.core.tensor import Tensors
from maas.dialects.signatures import pick_signature
from maas.dialects.tensorjson.arrays import to_array
from maas.dialects.tensorjson.document import (
    LARGE_BYTES,
    Document,
    is_array,
    is_base64,
    is_object,
    read,
)


class PredictRequest(Struct, frozen=True):
    """One predict request.

    Args:
        signature: the one it names, else the main one.
        inputs: arrays of the signature's dtypes and shapes.
        rows: as `check_inputs` counts them.
        row_format: asked with `instances`, so answered with `predictions`; else `inputs` and
            `outputs`.
    """

    signature: Signature
    inputs: Tensors
    rows: int
    row_format: bool


def decode_predict(body: bytes, view: ModelView) -> PredictRequest:
    """Reads `POST /v1/models/NAME[/versions/N|/labels/L]:predict`.

    Raises:
        MaasError: INVALID_ARGUMENT for whatever is wrong with the request; TOO_LARGE.
    """
    document = read(body)
    root = document.root
    signature = read_signature(root, view)
    row_format = "instances" in root
    if row_format == ("inputs" in root):
        given = "both instances and inputs" if row_format else "neither instances nor inputs"
        raise invalid(
            f"the body has {given}; send instances (one element per row) or inputs (columns)"
        )
    if row_format:
        inputs = _read_rows(document, root["instances"], signature)
    else:
        inputs = _read_columns(document, root["inputs"], signature)
    return PredictRequest(signature, inputs, check_inputs(signature, inputs), row_format)


def read_signature(root: Mapping[str, Any], view: ModelView) -> Signature:
    """The signature that a body names under `signature_name`, else the main one.

    Raises:
        MaasError: INVALID_ARGUMENT where it is no string, or there is none of that name.
    """
    if "signature_name" not in root:
        return pick_signature(view)
    name = root["signature_name"]
    if not isinstance(name, str):
        raise invalid("signature_name must be a string")
    return pick_signature(view, name)


def _read_rows(document: Document, instances: Any, signature: Signature) -> dict[str, np.ndarray]:
    if not is_array(instances) or not len(instances):
        raise invalid("instances must be a list with at least one element, one for each row")
    first = instances[0]
    if is_object(first) and not is_base64(first):
        return _read_named_rows(document, instances, signature)
    spec = _only_input(signature, "instances", "objects with each value under its input's name")
    outline = document.outlines("instances", 1)[0]
    return {spec.name: to_array(document, instances, spec, "instances", outline)}


def _read_named_rows(
    document: Document, instances: Any, signature: Signature
) -> dict[str, np.ndarray]:
    if document.size < LARGE_BYTES * len(instances):
        instances = document.python(instances)
    else:
        instances = list(instances)  # few and large: each value goes through a buffer
    names = {spec.name for spec in signature.inputs}
    for index, instance in enumerate(instances):
        if not is_object(instance) or is_base64(instance):
            raise invalid(
                f"instances[{index}] is no object where instances[0] is one; "
                "write every instance alike"
            )
        if set(instance) != names:
            _refuse_names(instance, names, index, signature)
    inputs = {}
    for spec in signature.inputs:
        what = f"input {spec.name!r}"
        column = [instance[spec.name] for instance in instances]
        if is_array(column[0]) and not isinstance(column[0], list):
            outlines = document.outlines(spec.name, len(column))
            arrays = [
                to_array(document, value, spec, f"{what} of instances[{index}]", outlines[index])
                for index, value in enumerate(column)
            ]
            _check_alike(arrays, what)
            inputs[spec.name] = np.stack(arrays)
        else:
            column = [document.python(value) for value in column]
            inputs[spec.name] = to_array(document, column, spec, what)
    return inputs


def _refuse_names(
    instance: Mapping[str, Any], names: set[str], index: int, signature: Signature
) -> None:
    expected = f"{describe_inputs(signature)}, each under its name in every instance"
    for name in names:
        if name not in instance:
            raise invalid(f"instances[{index}] has no {name!r}; {expected}")
    for name in instance:
        if name not in names:
            raise invalid(f"instances[{index}] has {name!r}, which is no input; {expected}")


def _check_alike(arrays: list[np.ndarray], what: str) -> None:
    for index, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise invalid(
                f"{what} has shape {list(array.shape)} in instances[{index}] and "
                f"{list(arrays[0].shape)} in instances[0]; all instances need the same shape"
            )


def _read_columns(document: Document, value: Any, signature: Signature) -> dict[str, np.ndarray]:
    if not is_object(value) or is_base64(value):
        spec = _only_input(signature, "inputs", "an object with each value under its input's name")
        outline = document.outlines("inputs", 1)[0]
        return {spec.name: to_array(document, value, spec, "inputs", outline)}
    inputs = {}
    for spec in signature.inputs:
        if spec.name not in value:
            raise invalid(f"inputs has no {spec.name!r}; {describe_inputs(signature)}")
        outline = document.outlines(spec.name, 1)[0]
        inputs[spec.name] = to_array(
            document, value[spec.name], spec, f"input {spec.name!r}", outline
        )
    return inputs


def _only_input(signature: Signature, key: str, instead: str) -> Any:
    if len(signature.inputs) == 1:
        return signature.inputs[0]
    raise invalid(
        f"{key} holds bare values and the model has {len(signature.inputs)} inputs; "
        f"send {instead}: {describe_inputs(signature)}"
    )
