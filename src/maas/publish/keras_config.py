"""Which classes and functions a Keras configuration would have made, told without making any."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from maas.core.errors import invalid
from maas.runtimes.tf_process import open_keras

DEEPEST = 200
PLAIN = frozenset(
    {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}
)
"""Class names that Keras reads as values. Source: keras/src/saving/serialization_lib.py."""
UNSAFE = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
"""Keras's own layers that hold code, or open further files."""
CONTAINERS = frozenset({"Functional", "Sequential", "Model"})
"""Keras's own models; the module they stand in has changed with its versions."""
FILES = ("vocabulary", "idf_weights")
"""Arguments of lookup layers that, as texts, are paths to read."""
PUBLIC = (
    "layers",
    "models",
    "initializers",
    "regularizers",
    "constraints",
    "activations",
    "losses",
    "metrics",
    "optimizers",
    "quantizers",
    "dtype_policies",
    "random",
)
"""Modules of `keras` in which names without a module are looked for."""


class Classes(Struct, frozen=True):
    """What a configuration refers to.

    Args:
        unsafe: Keras's own things that can run code or read files, as `a Lambda layer 'x'`.
        custom: names that are not Keras's own.
    """

    unsafe: tuple[str, ...]
    custom: tuple[str, ...]


def classes_of(config: Any) -> Classes:
    """Walks a configuration.

    Raises:
        MaasError: INVALID_ARGUMENT where it is nested too deeply.
    """
    unsafe: dict[str, None] = {}
    custom: dict[str, None] = {}
    keras = open_keras()
    for node in _nodes(config):
        kind = node.get("class_name")
        if not isinstance(kind, str) or kind in PLAIN:
            continue
        inner = node.get("config")
        module, registered = node.get("module"), node.get("registered_name")
        label = (
            f" {str(inner['name'])[:60]!r}" if isinstance(inner, dict) and "name" in inner else ""
        )
        if kind in ("__lambda__", "__typespec__"):
            unsafe["a Python lambda" if kind == "__lambda__" else "a type specification"] = None
        elif kind == "function":
            name = inner if isinstance(inner, str) else str(registered)
            if not _is_builtin_function(keras, name, module):
                custom[name[:80]] = None
        elif not _is_builtin_class(keras, kind, module):
            custom[str(registered or kind)[:80]] = None
        elif kind in UNSAFE:
            unsafe[f"a {kind} layer{label}"] = None
        elif isinstance(inner, dict) and any(isinstance(inner.get(key), str) for key in FILES):
            unsafe[f"a {kind} layer{label} that reads a file"] = None
    return Classes(tuple(unsafe), tuple(custom))


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    pending = [(config, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > DEEPEST:
            raise invalid(f"the model's configuration is nested deeper than {DEEPEST} levels")
        if isinstance(value, dict):
            yield value
            pending.extend((child, depth + 1) for child in value.values())
        elif isinstance(value, list):
            pending.extend((child, depth + 1) for child in value)


def _is_builtin_class(keras: Any, name: str, module: Any) -> bool:
    if name in CONTAINERS and (module is None or str(module).startswith("keras.")):
        return True
    found = _find(keras, name, module)
    return isinstance(found, type) and issubclass(found, _bases(keras))


def _is_builtin_function(keras: Any, name: str, module: Any) -> bool:
    if module not in (None, "builtins") and not str(module).startswith("keras."):
        return False
    found = _find(keras, name, None if module == "builtins" else module)
    # Activations, losses and metrics are plain functions; nothing that opens or saves is.
    return callable(found) and getattr(found, "__module__", "").startswith(
        ("keras.src.activations", "keras.src.losses", "keras.src.metrics", "keras.src.ops")
    )


def _find(keras: Any, name: str, module: Any) -> Any:
    """The object of that name in Keras, of what is imported already; never imports."""
    if not isinstance(module, str) or module == "keras":
        places = [keras] + [getattr(keras, each, None) for each in PUBLIC]
    elif module.startswith("keras.src."):
        places = [sys.modules.get(module)]
    elif module.startswith("keras."):
        place: Any = keras
        for part in module.split(".")[1:]:
            place = getattr(place, part, None)
        places = [place]
    else:
        return None
    if module is None or module == "keras":
        return next((f for p in places if (f := getattr(p, name, None)) is not None), None)
    return getattr(places[0], name, None)


def _bases(keras: Any) -> tuple[type, ...]:
    return (
        keras.Operation,  # layers and models are operations
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.quantizers.Quantizer,
        keras.DTypePolicy,
        keras.dtype_policies.DTypePolicyMap,
        keras.random.SeedGenerator,
    )
