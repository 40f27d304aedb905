"""The calls that a version must answer before it serves: its proving sample, or made-up values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Servable
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import DType, Tensors
from maas.runtimes.tensorfile import MOST_PROVING, PROVING, read_tensors

WARM_ROWS = (1, 8)


def proving_sample(artifact: Path, signatures: Mapping[str, Signature]) -> dict[str, Tensors]:
    """The calls that publishing has seen answered and stored beside the model.

    Args:
        artifact: the version's folder.
        signatures: by name.

    Returns:
        Signature's name → inputs of one call; empty where publishing stored none, or
        more than `MOST_PROVING` bytes.

    Raises:
        MaasError: INVALID_ARGUMENT where the file is something else than such calls.
    """
    file = artifact / PROVING
    # What the model's own code may have left is not taken into this process whatever its size.
    if not file.exists() or file.lstat().st_size > MOST_PROVING:
        return {}
    calls: dict[str, Tensors] = {}
    for name, inputs in read_tensors(file).items():
        if name in signatures:
            check_inputs(signatures[name], inputs)
            calls[name] = inputs
    return calls


def warm_up(servable: Servable, signature: Signature, proving: Tensors | None = None) -> None:
    """Runs a call of one row, then of a batch where there is one.

    A model may refuse made-up values (an unknown category, say): that is an answer too, and only
    what is not about the values counts as failure. A proving sample it must answer.

    Args:
        servable: just loaded.
        signature: of its.
        proving: inputs of a call that it has answered before, if there is one.

    Raises:
        Exception: whatever the model fails with.
    """
    for rows in WARM_ROWS if signature.batched else WARM_ROWS[:1]:
        inputs = sample_inputs(signature, rows) if proving is None else _rows(proving, rows)
        try:
            outputs = servable.infer(signature.name, inputs)
        except MaasError as error:
            if proving is not None or error.kind is not ErrorKind.INVALID_ARGUMENT:
                raise
            continue
        names = {spec.name for spec in signature.outputs}
        if set(outputs) != names:
            raise MaasError(
                ErrorKind.INTERNAL,
                f"it answered {sorted(outputs)} where its signature has {sorted(names)}",
            )


def sample_inputs(signature: Signature, rows: int) -> Tensors:
    """Made-up inputs of a signature: ones, `True` and a short text, 1 where any size goes."""
    inputs: dict[str, np.ndarray] = {}
    for spec in signature.inputs:
        shape = [1 if size is None else size for size in spec.shape]
        if signature.batched:
            shape[0] = rows
        value: object = b"text" if spec.dtype is DType.BYTES else 1
        inputs[spec.name] = np.full(shape, value, spec.dtype.numpy)
    return inputs


def _rows(proving: Tensors, rows: int) -> Tensors:
    """A batch of that many rows, made of those there are; one call is left as it is."""
    if rows == 1:
        return proving
    return {name: array[np.arange(rows) % len(array)] for name, array in proving.items()}
