"""Gives a converted ONNX graph the names that a signature promises."""

from __future__ import annotations

from typing import Any

from maas.core.signature import Signature
from maas.publish.onnx_graph import DTYPES


def name_ends(
    model: Any, inputs: dict[str, str], outputs: dict[str, str], signature: Signature
) -> None:
    """Gives the graph's ends the signature's names, and numbers to what lies between.

    So no inner tensor has a name that an end is to get, and signatures that do the same are the
    same file, byte for byte.

    Args:
        model: a ModelProto, changed in place.
        inputs: the graph's names of its inputs → the signature's, in its order.
        outputs: likewise.
        signature: what it is to take and give.
    """
    from onnx import helper

    graph = model.graph
    graph.name, graph.doc_string = "lowered", ""
    prefix = "inner_"
    while any(name.startswith(prefix) for name in (*inputs.values(), *outputs.values())):
        prefix += "_"
    numbers: dict[str, str] = {"": ""}  # an optional input that is not given stays nameless
    for name in [*inputs, *outputs]:
        numbers[name] = f"{prefix}{len(numbers)}"
    used = {name for node in graph.node for name in _reads(node)}
    _number(graph, numbers, prefix)
    nodes = list(graph.node)
    for part in (graph.node, graph.input, graph.output, graph.value_info):
        del part[:]
    elements = {dtype: element for element, dtype in DTYPES.items()}
    for old, spec in zip(inputs, signature.inputs, strict=True):
        shape = [f"{spec.name}_{axis}" if s is None else s for axis, s in enumerate(spec.shape)]
        if shape and spec.shape[0] is None:
            shape[0] = "batch"
        graph.input.append(helper.make_tensor_value_info(spec.name, elements[spec.dtype], shape))
        if old in used:
            graph.node.append(helper.make_node("Identity", [spec.name], [numbers[old]]))
    graph.node.extend(nodes)
    for old, spec in zip(outputs, signature.outputs, strict=True):
        graph.node.append(helper.make_node("Identity", [numbers[old]], [spec.name]))
        shape = [f"{spec.name}_{axis}" if s is None else s for axis, s in enumerate(spec.shape)]
        graph.output.append(helper.make_tensor_value_info(spec.name, elements[spec.dtype], shape))


def _number(graph: Any, numbers: dict[str, str], prefix: str) -> None:
    """Renames every tensor of a graph and of the graphs within it, by order of appearance."""

    def of(name: str) -> str:
        return numbers.setdefault(name, f"{prefix}{len(numbers)}")

    del graph.value_info[:]
    for value in graph.input:
        value.name = of(value.name)
    for position, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_{position}", ""
        for names in (node.input, node.output):
            names[:] = [of(name) for name in names]
        for attribute in node.attribute:
            for inner in _graphs_of(attribute):
                _number(inner, numbers, prefix)
    for value in [*graph.output, *graph.initializer]:
        value.name = of(value.name)
    # Converters order weights by names that count upwards over a process.
    weights = sorted(graph.initializer, key=lambda weight: int(weight.name.removeprefix(prefix)))
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _reads(node: Any) -> set[str]:
    """Names that a node reads, those of its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in _graphs_of(attribute):
            names |= {value.name for value in graph.output}
            for inner in graph.node:
                names |= _reads(inner)
    return names


def _graphs_of(attribute: Any) -> list[Any]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
