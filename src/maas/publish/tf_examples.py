"""Draws serialised `tf.Example`s for signatures that take them: what the graph parses says how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from maas.publish.tf_samples import TEXTS

DRAWN = 512
"""Different examples that rows are drawn from."""
MOST_VALUES = 1 << 20
"""Of one example: a feature of a larger shape is not drawn for."""


class Feature(Struct, frozen=True):
    """What a graph parses out of an example.

    Args:
        kind: `float_list`, `int64_list` or `bytes_list`.
        size: how many values.
    """

    kind: str
    size: int


def features_of(nodes: Iterable[Iterable[Any]]) -> dict[str, Feature]:
    """The features that a model parses, of whatever signature.

    Args:
        nodes: `NodeDef`s of the graph and of each function.
    """
    found: dict[str, Feature] = {}
    for part in nodes:
        by_name = {node.name: node for node in part}
        for node in by_name.values():
            if node.op in _READERS:
                found.update(_READERS[node.op](node, by_name))
    return {name: feature for name, feature in found.items() if feature.size <= MOST_VALUES}


def _parse_example(node: Any, by_name: Mapping[str, Any]) -> Iterator[tuple[str, Feature]]:
    """Of `ParseExample`: its keys are one scalar input each."""
    sparse, dense = node.attr["Nsparse"].i, node.attr["Ndense"].i
    keys = [_strings(name, by_name) for name in node.input[2 : 2 + sparse + dense]]
    names = [name for found in keys for name in found]
    if len(names) == sparse + dense:
        yield from _features(node, names[:sparse], names[sparse:])


def _parse_example_v2(node: Any, by_name: Mapping[str, Any]) -> Iterator[tuple[str, Feature]]:
    """Of `ParseExampleV2`: its inputs are serialized, names, and three vectors of keys."""
    sparse, dense, ragged = (_strings(name, by_name) for name in node.input[2:5])
    yield from _features(node, sparse, dense)
    for name, kind in zip(ragged, node.attr["ragged_value_types"].list.type, strict=False):
        yield name, Feature(_KINDS.get(kind, "bytes_list"), 1)


def _parse_single(node: Any, by_name: Mapping[str, Any]) -> Iterator[tuple[str, Feature]]:
    """Of `ParseSingleExample`: its keys are attributes."""
    sparse, dense = (
        [key.decode("utf-8", "replace") for key in node.attr[name].list.s]
        for name in ("sparse_keys", "dense_keys")
    )
    yield from _features(node, sparse, dense)


_READERS = {
    "ParseExample": _parse_example,
    "ParseExampleV2": _parse_example_v2,
    "ParseSingleExample": _parse_single,
}
_KINDS = {1: "float_list", 7: "bytes_list", 9: "int64_list"}
"""`DataType` → the list that holds it."""


def _features(node: Any, sparse: list[str], dense: list[str]) -> Iterator[tuple[str, Feature]]:
    for name, kind in zip(sparse, node.attr["sparse_types"].list.type, strict=False):
        yield name, Feature(_KINDS.get(kind, "bytes_list"), 1)
    kinds, shapes = node.attr["Tdense"].list.type, node.attr["dense_shapes"].list.shape
    for name, kind, shape in zip(dense, kinds, shapes, strict=False):
        size = 1
        for dim in shape.dim:
            size *= max(dim.size, 1)
        yield name, Feature(_KINDS.get(kind, "bytes_list"), size)


def _strings(name: str, by_name: Mapping[str, Any]) -> list[str]:
    """The strings of a constant; none where it is none."""
    import tensorflow as tf

    node = by_name.get(name.lstrip("^").split(":")[0])
    if node is None or node.op != "Const":
        return []
    values = tf.make_ndarray(node.attr["value"].tensor).reshape(-1)
    return [bytes(value).decode("utf-8", "replace") for value in values]


def draw_examples(features: Mapping[str, Feature], seed: int = 0) -> tuple[bytes, ...]:
    """Serialised examples with a value for every feature."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    size = sum(feature.size for feature in features.values())
    drawn = []
    for _ in range(max(1, min(DRAWN, MOST_VALUES // max(size, 1)))):
        example = tf.train.Example()
        for name, feature in features.items():
            held = getattr(example.features.feature[name], feature.kind).value
            if feature.kind == "float_list":
                held.extend((rng.standard_normal(feature.size) * rng.choice((0.3, 1, 5))).tolist())
            elif feature.kind == "int64_list":
                held.extend(rng.integers(0, 2, feature.size).tolist())
            else:
                held.extend(TEXTS[i].encode() for i in rng.integers(0, len(TEXTS), feature.size))
        drawn.append(example.SerializeToString(deterministic=True))
    return tuple(drawn)
