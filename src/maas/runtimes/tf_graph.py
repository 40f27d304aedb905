"""A TensorFlow function as a servable: named tensors in, named tensors out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.runtimes.text import to_bytes
from maas.runtimes.wording import one_sentence

Run = Callable[..., Mapping[str, Any]]
"""Takes tensors in the order of the signature's inputs, gives tensors by output name."""

DTYPES = {
    DType.BOOL: "bool",
    DType.UINT8: "uint8",
    DType.UINT16: "uint16",
    DType.UINT32: "uint32",
    DType.UINT64: "uint64",
    DType.INT8: "int8",
    DType.INT16: "int16",
    DType.INT32: "int32",
    DType.INT64: "int64",
    DType.FP16: "float16",
    DType.FP32: "float32",
    DType.FP64: "float64",
    DType.BYTES: "string",
}
"""The protocols' types → TensorFlow's names. Source: tensorflow/core/framework/types.proto."""

WIDENED = {"bfloat16": DType.FP32}
"""Output types that have no JSON form, and what they are cast to without losing anything."""


def spec_of(name: str, dtype: str, shape: tuple[int | None, ...], role: str) -> TensorSpec:
    """A spec from TensorFlow's own words.

    Args:
        name: the tensor's.
        dtype: as TensorFlow names it, such as `float32`.
        shape: sizes, None where any goes.
        role: `input` or `output`, for the message.

    Raises:
        MaasError: INVALID_ARGUMENT for a type that no protocol here carries.
    """
    for ours, theirs in DTYPES.items():
        if theirs == dtype:
            return TensorSpec(name, ours, shape)
    if role == "output" and dtype in WIDENED:
        return TensorSpec(name, WIDENED[dtype], shape)
    raise invalid(
        f"{role} {name!r} is of type {dtype[:40]}, which no protocol here carries; "
        "cast it to float32 in the model"
    )


def tensor_specs(specs: tuple[TensorSpec, ...], prefix: str) -> list[Any]:
    """`tf.TensorSpec`s, named as TensorFlow takes it: `in_0`, `in_1` and so on."""
    import tensorflow as tf

    return [
        tf.TensorSpec(spec.shape, getattr(tf, DTYPES[spec.dtype]), name=f"{prefix}_{i}")
        for i, spec in enumerate(specs)
    ]


def outputs_of(answers: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """Specs of what a traced function gives.

    Raises:
        MaasError: INVALID_ARGUMENT for what is no dense tensor of a type carried here.
    """
    specs = []
    for name, value in answers.items():
        kind = type(value).__name__
        if kind in ("RaggedTensor", "SparseTensor"):
            raise invalid(
                f"output {name!r} is a {kind}; let the model end in a dense tensor, such as "
                "one padded with to_tensor()"
            )
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            raise invalid(f"output {name!r} is a {kind}; expected a tensor")
        shape = None if value.shape.rank is None else tuple(value.shape)
        specs.append(spec_of(name, value.dtype.name, () if shape is None else shape, "output"))
    if not specs:
        raise invalid("the model gives no outputs; expected at least one tensor")
    return tuple(specs)


class GraphServable:
    """Functions of a graph under their signatures."""

    def __init__(self, signatures: Mapping[str, Signature], functions: Mapping[str, Run]):
        self._signatures = dict(signatures)
        self._functions = dict(functions)
        self._refusals = _refusals()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call or one batch.

        Raises:
            MaasError: INVALID_ARGUMENT where the model refuses the values (an index beyond an
                embedding, a wrong shape), RESOURCE_EXHAUSTED where memory ran out, INTERNAL
                otherwise.
        """
        import tensorflow as tf

        wanted = self._signatures[signature]
        try:
            tensors = [
                tf.constant(inputs[spec.name], dtype=DTYPES[spec.dtype]) for spec in wanted.inputs
            ]
            answers = self._functions[signature](*tensors)
        except tf.errors.ResourceExhaustedError as error:
            raise _no_memory() from error
        except self._refusals as error:
            raise invalid(f"the model refused these values: {_first(error)}") from error
        except MemoryError as error:
            raise _no_memory() from error
        except Exception as error:
            raise MaasError(ErrorKind.INTERNAL, f"the model failed: {_first(error)}") from error
        return {spec.name: as_array(answers[spec.name], spec) for spec in wanted.outputs}

    def close(self) -> None:
        """Lets go of the graph; the process's end gives back the rest."""
        self._functions.clear()


def as_array(tensor: Any, spec: TensorSpec) -> np.ndarray:
    """A tensor as the array that the protocols carry."""
    array = np.asarray(tensor.numpy() if hasattr(tensor, "numpy") else tensor)
    if spec.dtype is DType.BYTES:
        return to_bytes(array)
    return array if array.dtype == spec.dtype.numpy else array.astype(spec.dtype.numpy)


def _no_memory() -> MaasError:
    return MaasError(ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was running")


_WHERE = re.compile(
    r"^(Graph execution error:)?\s*Detected at node .*?(<stack traces unavailable>|\n\n)", re.DOTALL
)
_BEHIND = re.compile(r"\[\[\{\{node |\[Op:|\n\nArguments received|\n\nStack trace for op")


def _first(error: BaseException) -> str:
    """TensorFlow's own words, without the graph nodes and stacks before and behind them."""
    text = _WHERE.sub("", str(error).strip())
    return one_sentence(_BEHIND.split(text)[0].strip() or error)


def _refusals() -> tuple[type[Exception], ...]:
    import tensorflow as tf

    own = (
        tf.errors.InvalidArgumentError,
        tf.errors.OutOfRangeError,
        tf.errors.FailedPreconditionError,
        tf.errors.NotFoundError,
    )
    return (*own, ValueError, TypeError, LookupError, ArithmeticError)
