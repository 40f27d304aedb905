"""Loads a TensorFlow SavedModel and finds its signatures."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any

from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.runtimes.tf_graph import Run, outputs_of, spec_of
from maas.runtimes.tf_process import open_tensorflow
from maas.runtimes.wording import one_sentence

ENTRY = "saved_model.pb"
SERVE = "serve"
"""The tag of the graph that is meant for serving."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")
_UNKNOWN_OP = re.compile(r"Op type not registered '([^']{1,80})'")


class SavedSignatures(Struct, frozen=True):
    """What a SavedModel offers.

    Args:
        signatures: the default one first; not yet known to be batched.
        runs: the function of each.
        left_out: a sentence for each signature that cannot be served.
    """

    signatures: dict[str, Signature]
    runs: dict[str, Run]
    left_out: tuple[str, ...]


def load_saved_model(folder: Path, threads: int = 1) -> Any:
    """Loads a SavedModel through TensorFlow.

    Args:
        folder: holds `saved_model.pb`.
        threads: see `open_tensorflow`.

    Raises:
        MaasError: INVALID_ARGUMENT with TensorFlow's reason.
    """
    tf = open_tensorflow(threads)
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tf.saved_model.load(str(folder), tags=[SERVE])
    except MemoryError:
        raise
    except Exception as error:
        unknown = _UNKNOWN_OP.search(str(error))
        if unknown:
            raise invalid(
                f"the model uses the operator {unknown[1]!r}, which TensorFlow {tf.__version__} "
                "does not have; save it without operators of its own"
            ) from error
        raise invalid(f"TensorFlow cannot load the model: {one_sentence(error)}") from error


def signatures_of(loaded: Any) -> SavedSignatures:
    """Finds the signatures: `serving_default` first, then by name, each under its own name.

    The first is what calls without a name reach.

    Raises:
        MaasError: INVALID_ARGUMENT where there is none that can be served.
    """
    offered = {str(name): function for name, function in dict(loaded.signatures).items()}
    names = sorted(offered, key=lambda name: (name != DEFAULT_SIGNATURE, name))
    signatures: dict[str, Signature] = {}
    runs: dict[str, Run] = {}
    left_out: list[str] = []
    for name in names:
        try:
            if not _NAME.fullmatch(name):
                raise invalid("its name may hold letters, digits, '.', '_' and '-' only")
            signatures[name], runs[name] = _signature(name, offered[name], loaded)
        except MaasError as error:
            left_out.append(f"signature {name[:60]!r} is not served: {error.message}")
    if not signatures or (DEFAULT_SIGNATURE in offered and DEFAULT_SIGNATURE not in signatures):
        raise invalid(
            left_out[0]
            if left_out
            else "the SavedModel has no signatures; save it with "
            "tf.saved_model.save(model, 'folder', signatures=...) or model.export('folder')"
        )
    return SavedSignatures(signatures, runs, tuple(left_out))


def _signature(name: str, function: Any, owner: Any) -> tuple[Signature, Run]:
    """One signature and its function, which keeps `owner` and so the model's variables alive."""
    import tensorflow as tf

    _, taken = function.structured_input_signature
    inputs = []
    for key, spec in sorted(taken.items()):
        if not isinstance(spec, tf.TensorSpec):
            raise invalid(f"input {key!r} is a {type(spec).__name__}; expected a dense tensor")
        if spec.shape.rank is None:
            raise invalid(f"input {key!r} has no declared shape; save it with an input_signature")
        inputs.append(spec_of(key, spec.dtype.name, tuple(spec.shape), "input"))
    if not inputs:
        raise invalid("it takes no inputs; expected at least one tensor")
    outputs = outputs_of(dict(sorted(function.structured_outputs.items())))
    keys = [spec.name for spec in inputs]

    def run(*tensors: Any, _owner: Any = owner) -> dict[str, Any]:
        answers = function(**dict(zip(keys, tensors, strict=True)))
        return {
            key: tf.cast(value, tf.float32) if value.dtype == tf.bfloat16 else value
            for key, value in answers.items()
        }

    return Signature(name, tuple(inputs), outputs, batched=False), run
