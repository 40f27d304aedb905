"""Answers and errors → a plain call's body."""

from __future__ import annotations

import msgspec
import numpy as np

from maas.core.errors import MaasError
from maas.core.messages import InferReply
from maas.core.records import ErrorBody
from maas.dialects.labels import predicted_labels
from maas.dialects.plain.decode import PlainRequest
from maas.dialects.tensorjson.text import array_text, object_text

PREDICTION = "prediction"


def encode(reply: InferReply, request: PlainRequest, *, classify: bool = False) -> bytes:
    """Writes an answer.

    Args:
        reply: the model's outputs.
        request: what was asked, which decides on names and on the batch axis.
        classify: the call came to `/classify`: `prediction` holds the labels, and the outputs
            they were not read from stand beside it under their names.

    Raises:
        MaasError: FAILED_PRECONDITION where `classify` is asked of a model without labels or
            scores per class.
    """
    if classify:
        source, labels = predicted_labels(reply)
        answer = {PREDICTION: labels}
        answer.update(
            (name, array)
            for name, array in reply.outputs.items()
            if name not in (source, PREDICTION)
        )
    elif len(reply.outputs) == 1 and not request.named:
        [only] = reply.outputs.values()
        answer = {PREDICTION: only}
    else:
        answer = dict(reply.outputs)
    if request.unbatch:
        answer = {name: _without_batch_axis(array) for name, array in answer.items()}
    return object_text((name, array_text(array)) for name, array in answer.items())


def encode_error(error: MaasError, request_id: str) -> bytes:
    """Writes `{"error": {"kind", "message", "request_id"}}`."""
    return msgspec.json.encode({"error": ErrorBody(error.kind, error.message, request_id)})


def _without_batch_axis(array: np.ndarray) -> np.ndarray:
    if array.ndim and array.shape[0] == 1:
        return array.reshape(array.shape[1:])
    return array
