"""Answers, metadata, health and errors → JSON bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import InferReply, ModelView
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.classification import top_classes
from maas.dialects.oip.request import InferRequest
from maas.dialects.signatures import pick_signature
from maas.dialects.tensorjson.text import array_text

SERVER_NAME = "maas"
_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_NUMBERS = frozenset(DType) - {DType.FP16, DType.BYTES}
EXTENSIONS = ("classification",)
"""Of Triton's extensions, those that are built."""


def encode_infer(reply: InferReply, request: InferRequest) -> bytes:
    """Writes an answer; `data` is flat, `model_version` a string.

    Raises:
        MaasError: UNIMPLEMENTED for an FP16 output, which has no JSON form; INVALID_ARGUMENT for
            classes of an output without numbers.
    """
    specs = reply.signature.outputs
    if request.outputs is not None:
        by_name = {spec.name: spec for spec in specs}
        specs = tuple(by_name[name] for name in request.outputs)
    arrays = reply.outputs
    outputs = [
        _classes(arrays[spec.name], spec, request.classes[index], batched=reply.signature.batched)
        if request.classes and request.classes[index]
        else {
            "name": spec.name,
            "datatype": spec.dtype.text,
            "shape": arrays[spec.name].shape,
            # Numbers stay an array, which orjson writes in the same pass as the rest.
            "data": arrays[spec.name].ravel()
            if spec.dtype in _NUMBERS
            else _other_data(spec, arrays[spec.name]),
        }
        for index, spec in enumerate(specs)
    ]
    answer = {
        "model_name": reply.servable.name,
        "model_version": str(reply.servable.version),
        "outputs": outputs,
    }
    if request.id is not None:
        answer["id"] = request.id
    text = orjson.dumps(answer, option=_NUMPY)
    if b"null" not in text:
        return text
    # What is not finite became null (or the caller's id says so): tokens are written instead.
    for tensor in outputs:
        if isinstance(tensor["data"], np.ndarray):
            tensor["data"] = orjson.Fragment(array_text(tensor["data"]))
    return orjson.dumps(answer)


def _classes(array: np.ndarray, spec: TensorSpec, count: int, *, batched: bool) -> dict[str, Any]:
    """An output asked for as its best classes, in Triton's form."""
    texts = top_classes(array, spec, count, batched=batched)
    return {
        "name": spec.name,
        "datatype": DType.BYTES.text,
        "shape": texts.shape,
        "data": orjson.Fragment(array_text(texts.ravel())),
    }


def _other_data(spec: TensorSpec, array: np.ndarray) -> orjson.Fragment:
    """The elements of an output that is not numbers: texts; FP16 has no JSON form."""
    if spec.dtype is DType.FP16:
        raise MaasError(
            ErrorKind.UNIMPLEMENTED,
            f"output {spec.name!r} is FP16, which has no JSON form, and the binary form is not "
            "supported here; call the model through another protocol",
        )
    return orjson.Fragment(array_text(array.ravel()))


def encode_model_metadata(view: ModelView, versions: Sequence[int]) -> bytes:
    """Writes `GET /v2/models/M[/versions/V]`; -1 stands for any size.

    Args:
        view: the version asked for.
        versions: those that can be called.
    """
    signature = pick_signature(view)
    return orjson.dumps(
        {
            "name": view.servable.name,
            "versions": [str(version) for version in versions],
            "platform": view.platform,
            "inputs": [_described(spec) | _columns(spec) for spec in signature.inputs],
            "outputs": [_described(spec) for spec in signature.outputs],
        }
    )


def _described(spec: TensorSpec) -> dict[str, object]:
    shape = [-1 if size is None else size for size in spec.shape]
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": shape}


def _columns(spec: TensorSpec) -> dict[str, object]:
    """The names of a table's columns, where they are known, as a parameter of the tensor."""
    return {} if spec.labels is None else {"parameters": {"columns": spec.labels}}


def encode_server_metadata(version: str) -> bytes:
    """Writes `GET /v2`."""
    return orjson.dumps({"name": SERVER_NAME, "version": version, "extensions": EXTENSIONS})


def encode_live(live: bool) -> bytes:
    """Writes `GET /v2/health/live`."""
    return orjson.dumps({"live": live})


def encode_ready(ready: bool, name: str | None = None) -> bytes:
    """Writes `GET /v2/health/ready`, or a model's `/ready`, which has its name."""
    return orjson.dumps({"ready": ready} if name is None else {"name": name, "ready": ready})


def encode_error(error: MaasError) -> bytes:
    """Writes `{"error": message}`."""
    return orjson.dumps({"error": error.message})
