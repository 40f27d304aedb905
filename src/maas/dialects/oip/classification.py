"""Triton's classification extension: scores → `"value:index[:label]"`, best first."""

from __future__ import annotations

import numpy as np

from maas.core.errors import invalid
from maas.core.tensor import TensorSpec

MOST_CLASSES = 1 << 20
"""Texts in one answer: each is an object, and takes a microsecond."""


def top_classes(array: np.ndarray, spec: TensorSpec, count: int, *, batched: bool) -> np.ndarray:
    """Replaces scores by the best classes.

    Values are written as C++'s `std::to_string` does, floats with six decimals, since Triton's
    clients compare such strings.

    Args:
        array: numeric scores, one per class (all axes after the batch axis count as one).
        spec: with the class names, where they are known.
        count: classes wanted; fewer where there are fewer.
        batched: whether the first axis is the batch axis.

    Returns:
        BYTES [rows, count], or [count] without a batch axis; equal scores in order of index.

    Raises:
        MaasError: INVALID_ARGUMENT where the output holds no numbers, or for too many classes.
    """
    if not (spec.dtype.is_integer or spec.dtype.is_float):
        raise invalid(
            f"classification needs numbers and output {spec.name!r} is {spec.dtype}; "
            "ask for it without that parameter"
        )
    rows = array.reshape(len(array), -1) if batched and array.ndim else array.reshape(1, -1)
    if len(rows) * min(count, rows.shape[1]) > MOST_CLASSES:
        raise invalid(
            f"classification {count} of output {spec.name!r} makes more than {MOST_CLASSES} texts; "
            "ask for fewer classes, or for the numbers"
        )
    # Descending and stable; the sort puts NaN last, so it is hidden from the reversal.
    order = np.argsort(-rows.astype(np.float64), axis=-1, kind="stable")[:, :count]
    texts = np.empty(order.shape, np.object_)
    for row, best in enumerate(order):
        for place, index in enumerate(best):
            texts[row, place] = _class_text(rows[row, index], int(index), spec)
    return texts if batched else texts[0]


def _class_text(value: np.generic, index: int, spec: TensorSpec) -> bytes:
    number = f"{float(value):.6f}" if spec.dtype.is_float else str(value)
    text = f"{number}:{index}"
    if spec.labels is not None and index < len(spec.labels):
        text += f":{spec.labels[index]}"
    return text.encode("utf-8")
