"""Lowers a TensorFlow function to ONNX through tf2onnx, with the signature's own names."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

from maas.core.signature import Signature
from maas.publish.lower import NotLoweredError
from maas.publish.onnx_ends import name_ends
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
    name_ends(model, inputs, outputs, signature)
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
