"""Answers and errors of predict, classify and regress → JSON bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from maas.core.errors import MaasError, invalid
from maas.core.messages import InferReply
from maas.dialects.tensorjson.text import array_text, bytes_values, object_text
from maas.dialects.tfserving.decode import PredictRequest
from maas.dialects.tfserving.tasks import read_classes, read_values

BASE64_SUFFIX = "_bytes"
"""BYTES outputs whose names end so are written as `{"b64": …}`."""


def encode_predict(reply: InferReply, request: PredictRequest) -> bytes:
    """Writes `predictions` (rows) or `outputs` (columns); bare where there is one output.

    Raises:
        MaasError: INVALID_ARGUMENT where rows are wanted of outputs that have no axis of rows,
            or not the same number of them.
    """
    outputs = reply.outputs
    if request.row_format:
        _check_rows(reply)
        if len(outputs) > 1:
            return _rows_text(reply)
    texts = [(name, _text(name, array)) for name, array in outputs.items()]
    key = b'{"predictions":' if request.row_format else b'{"outputs":'
    return key + (texts[0][1] if len(texts) == 1 else object_text(texts)) + b"}"


def encode_classes(reply: InferReply, examples: int) -> bytes:
    """Writes `{"results": [[[label, score], …], …]}`, a list of classes for each example.

    The key is the code's (json_tensor.cc); the document of TensorFlow Serving says `result` once.

    Raises:
        MaasError: FAILED_PRECONDITION where the outputs are not as the signature says.
    """
    classes = read_classes(reply, examples)
    scores: Any = classes.scores
    if not np.isfinite(scores).all():
        scores = [[orjson.Fragment(array_text(one[()])) for one in row] for row in scores]
    rows = [
        list(zip(names, row, strict=True))
        for names, row in zip(classes.labels, scores, strict=True)
    ]
    return orjson.dumps({"results": rows}, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_values(reply: InferReply, examples: int) -> bytes:
    """Writes `{"results": [value, …]}`, a number for each example.

    Raises:
        MaasError: FAILED_PRECONDITION where the output is not one number for each example.
    """
    return b'{"results":' + array_text(read_values(reply, examples)) + b"}"


def encode_error(error: MaasError) -> bytes:
    """Writes `{"error": message}`."""
    return orjson.dumps({"error": error.message})


def _text(name: str, array: np.ndarray) -> bytes:
    return array_text(array, as_base64=name.endswith(BASE64_SUFFIX))


def _check_rows(reply: InferReply) -> None:
    rows = -1
    for name, array in reply.outputs.items():
        if not array.ndim or rows not in (-1, len(array)):
            shapes = ", ".join(f"{n} {list(a.shape)}" for n, a in reply.outputs.items())
            raise invalid(
                f"output {name!r} cannot be split into rows, the outputs being {shapes}; "
                "send the request in column form, under inputs"
            )
        rows = len(array)


def _rows_text(reply: InferReply) -> bytes:
    names = tuple(reply.outputs)
    columns = [_row_values(name, array) for name, array in reply.outputs.items()]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    text = orjson.dumps({"predictions": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" not in text:
        return text
    # Some float is not finite, or a string says null: each row's text is written by itself.
    rows = [
        {
            name: orjson.Fragment(_text(name, array[row : row + 1].reshape(array.shape[1:])))
            for name, array in reply.outputs.items()
        }
        for row in range(len(rows))
    ]
    return orjson.dumps({"predictions": rows})


def _row_values(name: str, array: np.ndarray) -> list[Any]:
    """One value for each row, as orjson takes it."""
    values: list[Any]
    if array.dtype.kind == "O":
        values = bytes_values(array, as_base64=name.endswith(BASE64_SUFFIX))
    elif array.dtype.kind in "fV":
        values = list(np.ascontiguousarray(array, np.float32 if array.dtype.kind == "V" else None))
    else:
        values = array.tolist()
    return values
