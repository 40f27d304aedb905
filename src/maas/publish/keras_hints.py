"""What a Keras model says about the values it wants: its embeddings, scalers and vocabularies."""

from __future__ import annotations

from typing import Any

import numpy as np

from maas.core.tensor import TensorSpec
from maas.publish.tf_samples import Hint
from maas.runtimes.wording import one_sentence

MOST_WORDS = 2000
SMALL_SCALE = 0.1
"""A Rescaling below it brings 0 to 255 down to about 1."""


def hints_of(model: Any, inputs: tuple[TensorSpec, ...]) -> dict[str, Hint]:
    """Finds the first layer behind each input that tells which values it takes.

    Args:
        model: loaded.
        inputs: its inputs, in the order of `model.inputs`.
    """
    tensors = list(getattr(model, "inputs", None) or ())
    if len(tensors) != len(inputs):
        return {}
    found = {}
    for spec, tensor in zip(inputs, tensors, strict=True):
        hint = _behind(model, tensor)
        if hint is not None:
            found[spec.name] = hint
    return found


def _behind(model: Any, tensor: Any) -> Hint | None:
    """Follows a tensor through the layers until one tells, or has weights of its own."""
    if not hasattr(model, "output_names"):
        return _along(list(model.layers))
    reached = {id(tensor)}
    for operation in model.operations:
        # Keras keeps the graph of a functional model in these nodes and nowhere public.
        for node in getattr(operation, "_inbound_nodes", ()):
            if not any(id(each) in reached for each in node.input_tensors):
                continue
            hint = hint_of(operation)
            if hint is not None:
                return hint
            if not getattr(operation, "weights", ()):
                reached.update(id(each) for each in node.outputs)
    return None


def _along(layers: list[Any]) -> Hint | None:
    for layer in layers:
        hint = hint_of(layer)
        if hint is not None or layer.weights:
            return hint
    return None


def hint_of(layer: Any) -> Hint | None:
    """What one layer says about its input; a nested model's first input speaks for it."""
    kind = type(layer).__name__
    if getattr(layer, "layers", None) and getattr(layer, "inputs", None):
        return _behind(layer, layer.inputs[0])
    if kind == "Embedding":
        return Hint("index", high=int(layer.input_dim))
    if kind == "CategoryEncoding":
        return Hint("index", high=int(layer.num_tokens))
    if kind == "Normalization":
        return _scaler(layer)
    if kind == "Rescaling":
        small = float(np.max(np.abs(np.asarray(layer.scale)))) < SMALL_SCALE
        return Hint("pixels", high=255) if small else None
    if kind == "Discretization":
        bounds = np.asarray(layer.bin_boundaries or [0.0], dtype=np.float64)
        return Hint("scaled", mean=float(bounds.mean()), deviation=float(np.ptp(bounds)) or 1.0)
    if kind in ("TextVectorization", "StringLookup", "IntegerLookup"):
        return _vocabulary(layer, kind == "IntegerLookup")
    return None


def _scaler(layer: Any) -> Hint | None:
    if layer.mean is None or layer.variance is None:
        return None
    import keras

    mean = keras.ops.convert_to_numpy(layer.mean).astype(np.float64)
    deviation = np.sqrt(keras.ops.convert_to_numpy(layer.variance).astype(np.float64))
    return Hint("scaled", mean=mean.reshape(-1).tolist(), deviation=deviation.reshape(-1).tolist())


def _vocabulary(layer: Any, numbers: bool) -> Hint | None:
    try:
        words = layer.get_vocabulary()
    except (ValueError, RuntimeError, NotImplementedError):
        return None  # a lookup that has not been adapted
    if numbers:
        return Hint("index", high=int(max(words, default=0)) + 2)
    kept = [one_sentence(str(word), 60) for word in words[:MOST_WORDS] if str(word).strip()]
    return Hint("words", words=tuple(kept)) if kept else None
