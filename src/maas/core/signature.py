"""Signatures: the names, types and shapes that a model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.tensor import DType, Tensors, TensorSpec

DEFAULT_SIGNATURE = "serving_default"
"""The name of a model's main signature, as TensorFlow Serving has it.

A SavedModel whose signatures all have other names keeps them: `main_signature`.
"""


GENERATE: Final = "generate"
"""The method of a language model's only signature."""
TEXT = "text"
"""What its input and its output are called."""


class Signature(Struct, frozen=True, dict=True):
    """One way of calling a model.

    Args:
        name: `serving_default` for the main one, unless the model's own names are others.
        inputs: at least one.
        outputs: at least one.
        batched: proven at publish: rows run together equal rows run apart. Then the first axis
            of every input and output is the batch axis.
        method: what a SavedModel says this signature is for. `classify` and `regress` take
            serialised `tf.Example`s in their only input. A language model's is `generate`: texts
            in, and what it writes to each of them out.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool
    method: Literal["predict", "classify", "regress", "generate"] = "predict"

    @cached_property
    def by_name(self) -> dict[str, TensorSpec]:
        """The inputs by name."""
        return {spec.name: spec for spec in self.inputs}

    @cached_property
    def checks(self) -> tuple[tuple[TensorSpec, np.dtype, tuple[int | None, ...], bool], ...]:
        """What `check_inputs` compares with, for each input.

        Its spec, NumPy dtype, shape without the batch axis, and whether that is free of None.
        """
        start = 1 if self.batched else 0
        return tuple(
            (spec, spec.dtype.numpy, spec.shape[start:], None not in spec.shape[start:])
            for spec in self.inputs
        )

    @cached_property
    def all_fixed(self) -> bool:
        """Whether the rows of every input have one shape only."""
        return all(fixed for _, _, _, fixed in self.checks)

    @cached_property
    def all_floats(self) -> bool:
        """Whether every input is FP32 or FP64."""
        return all(spec.dtype in (DType.FP32, DType.FP64) for spec in self.inputs)

    def input(self, name: str) -> TensorSpec:
        """The input of that name.

        Raises:
            MaasError: INVALID_ARGUMENT, naming the inputs there are.
        """
        spec = self.by_name.get(name)
        if spec is None:
            raise invalid(f"there is no input {name[:80]!r}; {describe_inputs(self)}")
        return spec


def text_signature() -> Signature:
    """The one signature of a language model: BYTES [n] in, what it writes to each out."""
    spec = TensorSpec(TEXT, DType.BYTES, (None,))
    return Signature(DEFAULT_SIGNATURE, (spec,), (spec,), batched=False, method=GENERATE)


def main_signature(signatures: Mapping[str, Signature]) -> Signature:
    """The signature of a call that names none: `serving_default`, else the first by name.

    Args:
        signatures: of a model, at least one.
    """
    return signatures.get(DEFAULT_SIGNATURE) or signatures[min(signatures)]


def describe_shape(shape: tuple[int | None, ...]) -> str:
    """Writes a shape as people read it: `[n, 4]`, with `n` where any size goes."""
    return "[" + ", ".join("n" if size is None else str(size) for size in shape) + "]"


def describe_spec(spec: TensorSpec) -> str:
    """Writes a spec on one line: `x FP32 [n, 4]`."""
    return f"{spec.name} {spec.dtype} {describe_shape(spec.shape)}"


def describe_inputs(signature: Signature) -> str:
    """Writes what a signature takes: `the inputs are x FP32 [n, 4]`."""
    return "expected " + ", ".join(describe_spec(spec) for spec in signature.inputs)


def check_inputs(signature: Signature, inputs: Tensors) -> int:
    """Checks arrays against a signature.

    Args:
        signature: what the model takes.
        inputs: arrays, each already of its spec's dtype.

    Returns:
        The number of rows: the size of the batch axis of a batched signature, else 1.

    Raises:
        MaasError: INVALID_ARGUMENT for a missing or unknown input, a wrong dtype or shape, an
            empty batch, or batch axes of different sizes.
    """
    if len(inputs) != len(signature.inputs):
        for name in inputs:
            signature.input(name)
    batched = signature.batched
    rows = -1
    for spec, dtype, tail, fixed in signature.checks:
        array = inputs.get(spec.name)
        if array is None:
            raise invalid(f"input {spec.name!r} is missing; {describe_inputs(signature)}")
        # NumPy has one object for each of its own dtypes; `!=` is for the rest.
        if array.dtype is not dtype and array.dtype != dtype:
            raise invalid(
                f"input {spec.name!r} is {_name_of(array.dtype)}; expected {describe_spec(spec)}"
            )
        shape = array.shape
        own = shape[1:] if batched else shape
        if (own != tail and (fixed or not _fits(own, tail))) or (batched and not shape):
            raise invalid(
                f"input {spec.name!r} has shape {list(shape)}; expected {describe_spec(spec)}"
            )
        if batched and shape[0] != rows:
            if rows != -1:
                raise invalid(
                    f"input {spec.name!r} has {shape[0]} rows where "
                    f"{signature.inputs[0].name!r} has {rows}; every input needs the same number"
                )
            rows = shape[0]
            if rows == 0:
                raise invalid(f"input {spec.name!r} has no rows; send at least one")
    return rows if batched else 1


def _fits(shape: tuple[int, ...], spec: tuple[int | None, ...]) -> bool:
    return len(shape) == len(spec) and all(
        want is None or want == got for want, got in zip(spec, shape, strict=True)
    )


def _name_of(dtype: np.dtype) -> str:
    try:
        return DType.of(dtype)
    except ValueError:
        return str(dtype)
