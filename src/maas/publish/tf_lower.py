"""Lowers a TensorFlow function to ONNX through tf2onnx, with the signature's own names."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

from maas.core.signature import Signature
from maas.publish.lower import NotLoweredError
from maas.publish.onnx_graph import DTYPES
from maas.runtimes.tf_graph import Run, tensor_specs
from maas.runtimes.wording import one_sentence

OPSET = 18
"""The newest operator set that tf2onnx 1.17 writes."""

LARGEST = 256 << 20
"""Bytes of weights that are lowered: tf2onnx takes 25 times their size in memory, and its way of
keeping them apart needs NumPy 1."""


def lower_graph(run: Run, signature: Signature) -> bytes:
    """Converts a function.

    Args:
        run: takes tensors in the order of the signature's inputs, gives a dictionary.
        signature: what the ONNX model is to take and give.

    Returns:
        A serialised ModelProto whose inputs and outputs are the signature's.

    Raises:
        NotLoweredError: with the reason, one clause.
    """
    model, captured = _convert(run, signature)
    _require_known(model)
    _give_constants(model, captured)
    inputs = {f"in_{i}": spec.name for i, spec in enumerate(signature.inputs)}
    outputs = {f"out_{i}": spec.name for i, spec in enumerate(signature.outputs)}
    # Inputs that no output depends on are not in the graph, but callers send them.
    given = {value.name for value in model.graph.input}
    if not given <= inputs.keys():
        raise NotLoweredError("its ONNX form wants tables or weights from outside")
    if {value.name for value in model.graph.output} != outputs.keys():
        raise NotLoweredError("its ONNX form lacks an output")
    _rename(model, inputs, outputs, signature)
    try:
        lowered: bytes = model.SerializeToString()
    except ValueError as error:
        raise NotLoweredError("its ONNX form is larger than protobuf's 2 GiB") from error
    return lowered


def _convert(run: Run, signature: Signature) -> tuple[Any, dict[str, Any]]:
    """The ONNX model, and the constants that the function takes from outside its graph."""
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    specs = tensor_specs(signature.inputs, "in")

    def graph(*tensors: Any) -> dict[str, Any]:
        answers = run(*tensors)
        # A name of its own for each, also where two outputs are one tensor.
        return {
            f"out_{i}": tf.identity(answers[spec.name]) for i, spec in enumerate(signature.outputs)
        }

    function = tf.function(graph, input_signature=specs, autograph=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            concrete = function.get_concrete_function()
            _require_bearable(concrete)
            model, _ = tf2onnx.convert.from_function(function, specs, opset=OPSET)
    except NotLoweredError:
        raise
    except Exception as error:
        raise NotLoweredError(f"tf2onnx cannot convert it: {one_sentence(error, 160)}") from error
    inner = concrete.inputs[len(specs) :]
    outer = concrete.captured_inputs
    captured = {
        tensor.name: value.numpy()
        for tensor, value in zip(inner, outer, strict=True)
        if value.dtype not in (tf.resource, tf.variant) and hasattr(value, "numpy")
    }
    return model, captured


def _require_bearable(concrete: Any) -> None:
    weights = sum(int(np.prod(v.shape)) * v.dtype.size for v in concrete.variables)
    if weights > LARGEST:
        raise NotLoweredError(
            f"its {weights >> 20} MiB of weights are more than the {LARGEST >> 20} MiB that "
            "tf2onnx can convert in the memory it may use"
        )


def _give_constants(model: Any, captured: dict[str, Any]) -> None:
    """Makes weights of the constants: tf2onnx freezes variables and leaves constants as inputs.

    An adapted Normalization layer's mean and variance are such constants.
    """
    from onnx import numpy_helper

    graph = model.graph
    kept = []
    for value in graph.input:
        constant = captured.get(value.name)
        if constant is None:
            kept.append(value)
        else:
            graph.initializer.append(numpy_helper.from_array(np.asarray(constant), value.name))
    del graph.input[:]
    graph.input.extend(kept)


def _require_known(model: Any) -> None:
    """tf2onnx leaves what it cannot convert in the graph, under TensorFlow's names."""
    from onnx import defs

    strangers = sorted(
        {
            node.op_type
            for node in model.graph.node
            if node.domain in ("", "ai.onnx") and not defs.has(node.op_type)
        }
    )
    if strangers:
        some = ", ".join(strangers[:4])
        raise NotLoweredError(f"ONNX has no counterpart of its TensorFlow operators {some}")


def _rename(
    model: Any, inputs: dict[str, str], outputs: dict[str, str], signature: Signature
) -> None:
    """Gives the graph's ends the signature's names, and numbers to what lies between.

    So no inner tensor has a name that an end is to get, and signatures that do the same are the
    same file, byte for byte.
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
    # tf2onnx orders weights by names that count upwards over a process.
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
