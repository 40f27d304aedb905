"""Proves that rows run together equal rows run apart, so that callers may share a batch."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError
from maas.core.tensor import Tensors
from maas.publish.compare import compare, distinct_answers

Run = Callable[[Tensors], Tensors]

ROWS = 32
"""Rows run apart; fewer where a row takes long."""
BUDGET_S = 20.0

CHUNK_BYTES = 4 << 20
CHUNK_ROWS = 64
"""Rows run at a time: what is between a model's layers is many times its input."""


class BatchProof(Struct, frozen=True):
    """Whether the first axis is a batch axis, and how that is known."""

    batched: bool
    note: str


def take(tensors: Tensors, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
    """Those rows of every tensor."""
    return {name: array[rows] for name, array in tensors.items()}


def rows_at_once(rows: Tensors) -> int:
    """How many rows of this size may be run together."""
    size = sum(array.nbytes // max(len(array), 1) for array in rows.values())
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(size, 1)))


def prove_batched(
    run: Run, inputs: Tensors, clock: Callable[[], float] = time.monotonic
) -> BatchProof:
    """Runs rows together, apart, and in another order.

    Args:
        run: the served form.
        inputs: at least two different rows; each array [rows, …].
        clock: seconds.
    """
    available = min(len(array) for array in inputs.values())
    began = clock()
    try:
        first = run(take(inputs, slice(0, 1)))
    except MaasError as error:
        return BatchProof(False, f"a single row is not answered on its own: {error.message}")
    count = min(ROWS, available)
    if clock() - began > BUDGET_S / ROWS:
        count = min(count, 4)
    if count < 2:
        return BatchProof(False, "there was only one row to try, so calls are run one by one")
    some = take(inputs, slice(0, count))
    try:
        together = run(some)
        backwards = run(take(some, np.arange(count)[::-1]))
        apart = [first, *(run(take(some, slice(i, i + 1))) for i in range(1, count))]
    except MaasError as error:
        return BatchProof(False, f"rows run together fail: {error.message}")
    for name, array in together.items():
        if array.ndim == 0 or len(array) != count or any(len(a[name]) != 1 for a in apart):
            return BatchProof(
                False, f"output {name!r} does not have one row for each row of the input"
            )
        if any(a[name].shape[1:] != array.shape[1:] for a in apart):
            return BatchProof(False, f"the shape of output {name!r} depends on the batch")
    if all(distinct_answers({name: array}) == 1 for name, array in together.items()):
        return BatchProof(
            False,
            f"{count} different rows all gave one answer, which proves nothing about the batch; "
            "publish with --sample and rows that are answered differently",
        )
    joined = {name: np.concatenate([a[name] for a in apart]) for name in together}
    for other in (joined, take(backwards, np.arange(count)[::-1])):
        difference = compare(together, other)
        if not difference.agrees:
            return BatchProof(
                False,
                f"rows run together differ from rows run apart ({difference.describe()}), "
                "so callers never share a batch",
            )
    return BatchProof(True, f"{count} rows run together equal the same rows run apart")
