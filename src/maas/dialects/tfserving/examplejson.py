"""A classify or regress request's body → arrays."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.messages import ModelView
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import DType, Tensors
from maas.dialects.tensorjson.document import is_array, is_base64, is_object, read
from maas.dialects.tensorjson.leaves import LARGEST
from maas.dialects.tfserving.decode import read_signature
from maas.dialects.tfserving.exampleproto import serialise_example
from maas.dialects.tfserving.examples import Examples, Values, to_inputs
from maas.dialects.tfserving.tasks import Task, wanted_outputs

_INT64 = range(-(1 << 63), 1 << 63)


class ExamplesRequest(Struct, frozen=True):
    """One classify or regress request.

    Args:
        signature: the one it names, else the main one.
        inputs: arrays of the signature's dtypes and shapes.
        rows: as `check_inputs` counts them.
        examples: how many there are.
        outputs: those that the answer is made of.
    """

    signature: Signature
    inputs: Tensors
    rows: int
    examples: int
    outputs: tuple[str, ...]


def decode_examples(body: bytes, view: ModelView, task: Task) -> ExamplesRequest:
    """Reads `POST /v1/models/NAME[/versions/N|/labels/L]:classify` or `:regress`.

    Raises:
        MaasError: INVALID_ARGUMENT for whatever is wrong with the request, or a signature that
            does not do this; TOO_LARGE.
    """
    document = read(body)
    root = document.root
    signature = read_signature(root, view)
    outputs = wanted_outputs(view, signature, task)
    if "examples" not in root or not is_array(root["examples"]) or not len(root["examples"]):
        raise invalid("expected examples, a list with at least one object: features by name")
    context = None
    if "context" in root:
        context = document.python(root["context"])
        _check_example(context, "context")
    rows = document.python(root["examples"])
    for index, row in enumerate(rows):
        _check_example(row, f"examples[{index}]")
    inputs = to_inputs(signature, Examples(rows, context, _values, _serialise))
    return ExamplesRequest(signature, inputs, check_inputs(signature, inputs), len(rows), outputs)


def _check_example(example: Any, where: str) -> None:
    if not is_object(example) or is_base64(example):
        raise invalid(f"{where} is no example; expected an object with features by name")


def _values(example: Mapping[str, Any], where: str, feature: str) -> Values | None:
    if feature not in example:
        return None
    value = example[feature]
    if isinstance(value, list):
        return [_leaf(one, where, feature) for one in value]
    return [_leaf(value, where, feature)]


def _leaf(value: Any, where: str, feature: str) -> bool | int | float | bytes:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    if is_base64(value) and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise invalid(
                f'feature {feature!r} of {where} holds a "b64" that is not base64; expected the '
                "standard alphabet with padding"
            ) from None
    kind = "null" if value is None else "a list" if isinstance(value, list) else "an object"
    raise invalid(
        f"feature {feature!r} of {where} holds {kind}; expected a number, true or false, a "
        'string or {"b64": …}, or a flat list of one kind of these'
    )


def _serialise(example: Mapping[str, Any], where: str) -> bytes:
    """Bytes of a `tensorflow.Example`.

    A number with a point is a float, one without an integer, true and false are 1 and 0, strings
    are bytes, as `AddValueToFeature` in json_tensor.cc has it.
    """
    features = {}
    for name, value in example.items():
        values = value if isinstance(value, list) else [value]
        leaves = [_leaf(one, where, name) for one in values]
        kinds = {_KINDS[type(leaf)] for leaf in leaves}
        if len(kinds) > 1:
            raise _mixed(name, where)
        kind = kinds.pop() if kinds else ""
        if kind == "int64_list":
            leaves = [int(leaf) for leaf in leaves]
            if not all(leaf in _INT64 for leaf in leaves):
                raise invalid(f"feature {name!r} of {where} holds an integer beyond 64 bits")
        if kind == "float_list":
            _check_floats(leaves, name, where)
        features[name] = (kind, leaves)
    return serialise_example(features)


_KINDS = {bool: "int64_list", int: "int64_list", float: "float_list", bytes: "bytes_list"}


def _mixed(name: str, where: str) -> MaasError:
    return invalid(
        f"feature {name!r} of {where} holds values of several kinds; write all as integers, all "
        "with a decimal point, or all as strings"
    )


def _check_floats(leaves: list[Any], name: str, where: str) -> None:
    largest = LARGEST[DType.FP32]
    if any(math.isfinite(leaf) and abs(leaf) > largest for leaf in leaves):
        raise invalid(
            f"feature {name!r} of {where} holds a number beyond what FP32 can hold "
            f"({np.finfo(np.float32).max})"
        )
