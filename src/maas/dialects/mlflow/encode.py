"""Answers and errors → MLflow's bodies."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import orjson

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.messages import InferReply
from maas.dialects.labels import LABEL, predicted_labels
from maas.dialects.table.npy import write_npy
from maas.dialects.tensorjson.text import array_text, object_text

ERROR_CODES: Mapping[ErrorKind, str] = MappingProxyType(
    {
        ErrorKind.INVALID_ARGUMENT: "BAD_REQUEST",
        ErrorKind.FAILED_PRECONDITION: "INVALID_STATE",
        ErrorKind.CONTEXT_EXCEEDED: "BAD_REQUEST",
        ErrorKind.UNAUTHENTICATED: "UNAUTHENTICATED",
        ErrorKind.PERMISSION_DENIED: "PERMISSION_DENIED",
        ErrorKind.NOT_FOUND: "RESOURCE_DOES_NOT_EXIST",
        ErrorKind.METHOD_NOT_ALLOWED: "BAD_REQUEST",
        ErrorKind.ALREADY_EXISTS: "RESOURCE_ALREADY_EXISTS",
        ErrorKind.TOO_LARGE: "RESOURCE_LIMIT_EXCEEDED",
        ErrorKind.UNSUPPORTED_MEDIA: "BAD_REQUEST",
        ErrorKind.RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED",
        ErrorKind.CANCELLED: "CANCELLED",
        ErrorKind.INTERNAL: "INTERNAL_ERROR",
        ErrorKind.UNIMPLEMENTED: "NOT_IMPLEMENTED",
        ErrorKind.UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
        ErrorKind.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    }
)
"""Names of `mlflow.protos.databricks_pb2.ErrorCode`."""


def encode_predictions(reply: InferReply) -> bytes:
    """Writes `{"predictions": …}`.

    One output is its values. A classifier's are its labels, as the model's own `predict` gives
    them; its scores are asked for through another protocol. Several other outputs are one object
    for each row, as MLflow writes a frame, or one object where they have no rows in common.
    """
    outputs = answered(reply)
    rows_of = {array.shape[:1] for array in outputs.values()}
    if len(outputs) == 1:
        [array] = outputs.values()
        text = array_text(array)
    elif len(rows_of) == 1 and () not in rows_of:
        names = list(outputs)
        rows = zip(*outputs.values(), strict=True)
        text = b"[%s]" % b",".join(
            object_text(zip(names, map(_cell, row), strict=True)) for row in rows
        )
    else:
        text = object_text((name, array_text(array)) for name, array in outputs.items())
    return b'{"predictions":' + text + b"}"


def encode_npy(reply: InferReply) -> bytes:
    """Writes the one array of an answer in NumPy's format, for `Accept: application/x-npy`.

    Raises:
        MaasError: INVALID_ARGUMENT where there are several.
    """
    outputs = answered(reply)
    if len(outputs) > 1:
        raise invalid(
            f"the answer has the outputs {', '.join(outputs)}, and application/x-npy holds one "
            "array; accept application/json"
        )
    [array] = outputs.values()
    return write_npy(array)


def answered(reply: InferReply) -> Mapping[str, np.ndarray]:
    """The outputs that an answer holds: a classifier's labels alone, else all of them."""
    if len(reply.outputs) > 1 and LABEL in reply.outputs:
        name, labels = predicted_labels(reply)
        return {name: labels}
    return reply.outputs


def encode_error(error: MaasError) -> bytes:
    """Writes `{"error_code", "message"}`."""
    return orjson.dumps({"error_code": ERROR_CODES[error.kind], "message": error.message})


def _cell(value: object) -> bytes:
    # A row of an object array is its element itself: bytes, which NumPy would make a string of.
    if isinstance(value, bytes):
        cell = np.empty((), object)
        cell[()] = value
        return array_text(cell)
    return array_text(np.asarray(value))
