"""The labels a classifier predicts, whichever of its outputs say so, for every dialect."""

from __future__ import annotations

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import InferReply
from maas.core.tensor import DType, TensorSpec

LABEL = "label"
"""The output that holds a classifier's labels, where it has one."""


def predicted_labels(reply: InferReply) -> tuple[str, np.ndarray]:
    """Reads the labels.

    They come from the output `label`, else from an output with class names, else from an only
    output that can be labels (strings, integers) or scores per class.

    Returns:
        The output they were read from, and the labels, one per row: BYTES where the classes have
        names, else integers.

    Raises:
        MaasError: FAILED_PRECONDITION where no output holds labels or scores per class.
    """
    specs = [spec for spec in reply.signature.outputs if spec.name in reply.outputs]
    chosen = (
        [spec for spec in specs if spec.name == LABEL]
        or [spec for spec in specs if spec.labels is not None]
        or (specs if len(specs) == 1 else [])
    )
    for spec in chosen:
        labels = _labels_of(reply.outputs[spec.name], spec)
        if labels is not None:
            return spec.name, labels
    raise MaasError(
        ErrorKind.FAILED_PRECONDITION,
        f"{reply.servable} is no classifier: none of its outputs holds labels or a score for "
        "each class; call its predict route",
    )


def _labels_of(array: np.ndarray, spec: TensorSpec) -> np.ndarray | None:
    if spec.dtype is DType.BYTES or spec.dtype is DType.BOOL:
        return array
    if spec.dtype.is_integer:
        return array if spec.labels is None else named(array, spec.labels)
    if array.ndim < 2:
        return None
    classes = array.shape[-1]
    if spec.labels is None:
        return array.argmax(axis=-1) if classes > 1 else None
    if classes != len(spec.labels):
        return None
    return take(array.argmax(axis=-1), spec.labels)


def named(array: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    """Class indices → names.

    Integers that are class names themselves (`labels` is `("0", "1")`) stay as they are, and so
    does what is no index.

    Args:
        array: integers of any shape.
        labels: the names, in the order of the indices.

    Returns:
        BYTES of the same shape, or the integers.
    """
    known = set(labels)
    values = array.reshape(-1).tolist()
    if all(str(value) in known for value in values):
        return array
    if not all(0 <= value < len(labels) for value in values):
        return array
    return take(array, labels)


def take(indices: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    """The name at each index, as BYTES."""
    names = np.array([label.encode("utf-8") for label in labels], np.object_)
    return np.asarray(names[indices])
