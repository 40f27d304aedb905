"""`tensorflow.Example` and `tensorflow.serving.Input` → arrays, and examples as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maas.core.errors import invalid
from maas.dialects.tfserving.examples import Examples, Values
from maas.protos import message


def read_input(proto: Any) -> Examples:
    """Reads the examples of a request.

    Args:
        proto: a `tensorflow.serving.Input`.

    Raises:
        MaasError: INVALID_ARGUMENT where it has none.
    """
    kind = proto.WhichOneof("kind")
    if kind == "example_list":
        return Examples(proto.example_list.examples, None, _values, _serialise)
    if kind == "example_list_with_context":
        given = proto.example_list_with_context
        context = given.context if given.HasField("context") else None
        return Examples(given.examples, context, _values, _serialise)
    raise invalid("input is empty; expected example_list or example_list_with_context")


def serialise_example(features: Mapping[str, tuple[str, Values]]) -> bytes:
    """Writes a `tensorflow.Example`.

    Args:
        features: by name: `bytes_list`, `float_list`, `int64_list` or nothing, and the values,
            which fit.
    """
    example = message("tensorflow.Example")()
    for name, (kind, values) in features.items():
        feature = example.features.feature[name]
        if kind:
            getattr(feature, kind).value.extend(values)
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def _values(example: Any, where: str, feature: str) -> Values | None:
    features = example.features.feature
    if feature not in features:
        return None
    found = features[feature]
    kind = found.WhichOneof("kind")
    if kind is None:
        return ()
    values: Values = getattr(found, kind).value
    return values


def _serialise(example: Any, where: str) -> bytes:
    data: bytes = example.SerializeToString()
    return data
