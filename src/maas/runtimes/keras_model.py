"""Loads a Keras model and makes a function of it whose tensors have Keras's own names."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.tensor import TensorSpec
from maas.runtimes.keras_code import custom_objects
from maas.runtimes.tf_graph import Run, outputs_of, spec_of, tensor_specs
from maas.runtimes.tf_process import open_keras
from maas.runtimes.wording import one_sentence

ENTRIES = {"keras": "model.keras", "keras-h5": "model.h5"}
"""Format → the artifact's file. Keras goes by the ending."""
TRUSTED_ENTRY = "trusted.keras"
"""A `.keras` file that was published with `--trust`: it may hold lambdas."""
CODE = "code"
"""The folder of the artifact with the modules published beside the model."""


class KerasFunction(Struct, frozen=True):
    """A model as one function.

    Args:
        inputs: in the order in which the function takes them.
        outputs: what it gives.
        run: a traced `tf.function` (or the model itself, where it cannot be traced).
        traced: whether it is a graph, which alone can be lowered.
        reason: why it is not.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    run: Run
    traced: bool
    reason: str = ""


def load_model(file: Path, code: Path | None, threads: int = 1) -> Any:
    """Loads a model through Keras's own reader; there is no other.

    Args:
        file: one of `ENTRIES`, or `TRUSTED_ENTRY`.
        code: modules with its own classes.
        threads: see `open_tensorflow`.

    Raises:
        MaasError: INVALID_ARGUMENT with Keras's reason.
    """
    keras = open_keras(threads)
    logging.getLogger("absl").setLevel(logging.ERROR)
    own = custom_objects(code)
    # HDF5 files carry code in places that safe_mode does not cover: they always need --trust.
    safe = file.name == ENTRIES["keras"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras.saving.load_model(
                str(file), custom_objects=own, compile=False, safe_mode=safe
            )
    except MaasError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise invalid(f"Keras cannot load the model: {one_sentence(_clause(error))}") from error


def function_of(model: Any) -> KerasFunction:
    """Makes a function of a loaded model.

    Raises:
        MaasError: INVALID_ARGUMENT where its inputs are not known or cannot be carried.
    """
    import tensorflow as tf

    structure, inputs = _inputs_of(model)

    def call(*tensors: Any) -> dict[str, Any]:
        answers = model(_packed(structure, tensors), training=False)
        return {
            name: tf.cast(value, tf.float32) if value.dtype == tf.bfloat16 else value
            for name, value in _named(model, answers, {spec.name for spec in inputs}).items()
        }

    graph = tf.function(call, input_signature=tensor_specs(inputs, "in"), autograph=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            concrete = graph.get_concrete_function()
    except MaasError:
        raise
    except Exception as error:  # noqa: BLE001  (a custom layer may raise anything)
        return _eager(call, inputs, one_sentence(_clause(error), 160))
    return KerasFunction(inputs, outputs_of(concrete.structured_outputs), concrete, traced=True)


def _eager(call: Run, inputs: tuple[TensorSpec, ...], reason: str) -> KerasFunction:
    """The model without a graph: its outputs are known once it has answered."""
    import tensorflow as tf

    shape = [[2 if size is None else size for size in spec.shape] for spec in inputs]
    zeros = [
        tf.zeros(s, spec.dtype) for s, spec in zip(shape, tensor_specs(inputs, "in"), strict=True)
    ]
    try:
        answers = call(*zeros)
    except MaasError:
        raise
    except Exception as error:
        raise invalid(
            f"the model fails when it is called: {one_sentence(_clause(error))}"
        ) from error
    outputs = tuple(
        TensorSpec(spec.name, spec.dtype, (None, *spec.shape[1:]) if spec.shape else ())
        for spec in outputs_of(answers)
    )
    return KerasFunction(inputs, outputs, call, traced=False, reason=reason)


def _inputs_of(model: Any) -> tuple[Any, tuple[TensorSpec, ...]]:
    """The structure that the model is called with, and its tensors in flat order."""
    import keras

    if not getattr(model, "inputs", None):
        return None, (_recorded_input(model),)
    functional = hasattr(model, "output_names")
    structure = model.input if functional else model.inputs[0]
    names = [tensor.name for tensor in model.inputs]
    if isinstance(structure, dict) and len(structure) == len(model.inputs):
        names = sorted(structure)  # as keras.tree flattens a dictionary
    specs = []
    for name, tensor in zip(_unique(names, set()), keras.tree.flatten(structure), strict=True):
        if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
            raise invalid(f"input {name!r} is sparse or ragged; let the model take a dense tensor")
        specs.append(spec_of(name, str(tensor.dtype), tuple(tensor.shape), "input"))
    return structure, tuple(specs)


def _recorded_input(model: Any) -> TensorSpec:
    """The one input of a subclassed model, from the shape that it was built with.

    Raises:
        MaasError: INVALID_ARGUMENT where none is recorded, or where it takes several.
    """
    required = [
        parameter.name
        for parameter in inspect.signature(model.call).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is parameter.empty
    ]
    recorded = (model.get_build_config() or {}).get("input_shape")
    flat = isinstance(recorded, list | tuple) and all(
        size is None or isinstance(size, int) for size in recorded
    )
    if len(required) != 1 or not recorded or not flat:
        raise invalid(
            "the model does not record what it takes; call it once on an input before saving it, "
            "or save it as a SavedModel with model.export('folder') and publish the folder"
        )
    dtype = str(getattr(model, "input_dtype", None) or "float32")
    return spec_of(required[0], dtype, (None, *recorded[1:]), "input")


def _packed(structure: Any, tensors: tuple[Any, ...]) -> Any:
    if structure is None:
        return tensors[0]
    import keras

    return keras.tree.pack_sequence_as(structure, list(tensors))


def _named(model: Any, answers: Any, taken: set[str]) -> dict[str, Any]:
    """Answers under names: the keys of a dictionary, else the names of the output layers."""
    if isinstance(answers, Mapping):
        flat = {str(key): value for key, value in answers.items()}
        if not any(isinstance(value, Mapping | list | tuple) for value in flat.values()):
            return dict(zip(_unique(list(flat), taken), flat.values(), strict=True))
    import keras

    values = keras.tree.flatten(answers)
    names = list(getattr(model, "output_names", ()))
    if not names and getattr(model, "inputs", None) and getattr(model, "layers", None):
        names = [model.layers[-1].name]
    if len(names) != len(values):
        names = ["output"] if len(values) == 1 else [f"output_{i}" for i in range(len(values))]
    return dict(zip(_unique(names, taken), values, strict=True))


def _unique(names: list[str], taken: set[str]) -> list[str]:
    """The names, with `_1`, `_2`, … on those that stand twice or are taken."""
    found: list[str] = []
    for name in names:
        free, count = name, 0
        while free in taken or free in found:
            count += 1
            free = f"{name}_{count}"
        found.append(free)
    return found


_AROUND = re.compile(
    r"Exception encountered when calling [^\n]*\n\n(?P<own>.*?)\n\nArguments received", re.DOTALL
)


def _clause(error: BaseException) -> str:
    """Keras's own words, without the dumps of configurations and arguments around them."""
    text = str(error)
    while (found := _AROUND.search(text)) is not None:
        text = found["own"]
    # What went wrong in a layer stands behind the whole configuration of the model around it.
    text = text.split("Exception encountered: ")[-1]
    for mark in ("Full object config", "config={", "Arguments received"):
        text = text.split(mark)[0]
    return text.strip().split("\n\n")[0] or type(error).__name__
