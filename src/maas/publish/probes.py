"""Values that samples do not hold: where two engines that agree on samples may still differ."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Servable
from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors
from maas.publish.batch import take
from maas.publish.compare import compare

ROWS = 4
FLOATS = (np.nan, np.inf, -np.inf, 1e4, -1e4, 1e-40)
INTEGERS = (-1, 0, 127, 1_000_003, 1 << 40)
"""An index from behind, none, one beyond most tables, one whose square is beyond 32 bits, and one
beyond 32 bits itself. Nothing between the last two: a size of 2³¹ would be allocated."""


class Probe(Struct, frozen=True):
    """A call and what is right: answers, or a refusal.

    Args:
        what: what is unusual about it, as a clause ends: `NaN in 'x'`.
        inputs: the call.
        answers: None where it is refused.
    """

    what: str
    inputs: Tensors
    answers: Tensors | None


def probes_of(signature: Signature, samples: Tensors) -> list[tuple[str, Tensors]]:
    """Calls made from the first samples, with one unusual value in each row of one input.

    Args:
        signature: what they are made for.
        samples: a call that is answered.

    Returns:
        What is unusual, and the call; also a call without rows where shapes allow one.
    """
    base = take(samples, slice(0, ROWS)) if signature.batched else dict(samples)
    made: list[tuple[str, Tensors]] = []
    for spec in signature.inputs:
        for value in _values(spec.dtype):
            array = np.array(base[spec.name])
            if array.size:
                _put(array, value)
                made.append((f"{value} in {spec.name!r}", {**base, spec.name: array}))
        if spec.dtype.is_float:
            nothing = np.zeros_like(base[spec.name])
            made.append((f"nothing but 0 in {spec.name!r}", {**base, spec.name: nothing}))
    open_axes = [spec.name for spec in signature.inputs if spec.shape[:1] == (None,)]
    if open_axes and not signature.batched:
        empty = {name: array[:0] if name in open_axes else array for name, array in base.items()}
        made.append(("no rows", empty))
    return made


def _values(dtype: DType) -> tuple[float, ...] | tuple[int, ...]:
    if dtype.is_float:
        largest = dtype.largest
        return tuple(v for v in FLOATS if not np.isfinite(v) or abs(v) <= largest)
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        return tuple(v for v in INTEGERS if limits.min <= v <= limits.max)
    return ()


def _put(array: np.ndarray, value: float) -> None:
    """Writes the value once into every row, each time at another place."""
    rows = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
    for index, row in enumerate(rows):
        row[(7 * index) % len(row)] = value


def ask(servable: Servable, signature: str, what: str, inputs: Tensors) -> Probe:
    """Records what the engine that is right by definition says to a call."""
    return Probe(what, inputs, _answers(servable, signature, inputs))


def difference_on(probe: Probe, servable: Servable, signature: str) -> str:
    """How another engine's word on a probe differs, one clause; empty where it does not."""
    answers = _answers(servable, signature, probe.inputs)
    if probe.answers is None:
        return "" if answers is None else f"it answers {probe.what}, which ONNX Runtime refuses"
    if answers is None:
        return f"it refuses {probe.what}, which ONNX Runtime answers"
    difference = compare(probe.answers, answers)
    return "" if difference.agrees else f"with {probe.what}, {difference.describe()}"


def _answers(servable: Servable, signature: str, inputs: Tensors) -> Tensors | None:
    """The answers, or None where the values (or the memory they would take) are refused."""
    try:
        return servable.infer(signature, inputs)
    except MaasError as error:
        if error.kind not in (ErrorKind.INVALID_ARGUMENT, ErrorKind.RESOURCE_EXHAUSTED):
            raise
        return None
