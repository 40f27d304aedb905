"""Answers, metadata, health and errors → JSON bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from maas.core.errors import MaasError, invalid
from maas.core.messages import InferReply, ModelView
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.binary import write_blob
from maas.dialects.oip.classification import top_classes
from maas.dialects.oip.request import InferRequest
from maas.dialects.signatures import pick_signature
from maas.dialects.tensorjson.text import array_text

SERVER_NAME = "maas"
_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_NUMBERS = frozenset(DType) - {DType.FP16, DType.BF16, DType.BYTES}
EXTENSIONS = (
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
"""Of Triton's extensions, those that are built."""


def encode_infer(reply: InferReply, request: InferRequest) -> tuple[bytes, int | None]:
    """Writes an answer; `data` is flat, `model_version` a string.

    Returns:
        The body, and how many bytes of it are JSON; None for all of them.

    Raises:
        MaasError: INVALID_ARGUMENT for an FP16 or BF16 output that is not asked for in binary,
            or classes of an output without numbers.
    """
    specs = reply.signature.outputs
    if request.outputs is not None:
        by_name = {spec.name: spec for spec in specs}
        specs = tuple(by_name[name] for name in request.outputs)
    if request.binary or request.all_binary:
        return _with_binary(reply, request, specs)
    return _as_json(reply, request, specs), None


def _with_binary(
    reply: InferReply, request: InferRequest, specs: tuple[TensorSpec, ...]
) -> tuple[bytes, int]:
    """An answer of which some outputs, at least one, are in binary."""
    outputs = []
    parts: list[bytes | memoryview] = [b""]
    plain = False
    for index, spec in enumerate(specs):
        array, datatype = reply.outputs[spec.name], spec.dtype
        if request.classes and request.classes[index]:
            array = top_classes(
                array, spec, request.classes[index], batched=reply.signature.batched
            )
            datatype = DType.BYTES
        output: dict[str, Any] = {
            "name": spec.name,
            "datatype": datatype.text,
            "shape": array.shape,
        }
        if request.all_binary or request.binary[index]:
            blob = write_blob(array)
            output["parameters"] = {"binary_data_size": len(blob)}
            parts.append(blob)
        else:
            plain = True
            output["data"] = array.ravel() if datatype in _NUMBERS else _texts(spec, array)
        outputs.append(output)
    text = parts[0] = _written(reply, request, outputs, plain=plain)
    return b"".join(parts), len(text)


def _as_json(reply: InferReply, request: InferRequest, specs: tuple[TensorSpec, ...]) -> bytes:
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
            else _texts(spec, arrays[spec.name]),
        }
        for index, spec in enumerate(specs)
    ]
    return _written(reply, request, outputs, plain=True)


def _written(
    reply: InferReply, request: InferRequest, outputs: list[dict[str, Any]], *, plain: bool
) -> bytes:
    """The JSON; `plain` says whether there may be numbers in it."""
    answer = {
        "model_name": reply.servable.name,
        "model_version": str(reply.servable.version),
        "outputs": outputs,
    }
    if request.id is not None:
        answer["id"] = request.id
    text = orjson.dumps(answer, option=_NUMPY)
    if not plain or b"null" not in text:
        return text
    # What is not finite became null (or the caller's id says so): tokens are written instead.
    for tensor in outputs:
        if isinstance(tensor.get("data"), np.ndarray):
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


def _texts(spec: TensorSpec, array: np.ndarray) -> orjson.Fragment:
    """The elements of an output that JSON has no numbers for: texts, not FP16 and BF16."""
    if array.dtype.kind != "O":
        raise invalid(
            f"output {spec.name!r} is {spec.dtype}, which has no JSON form; ask for it in binary, "
            "with its parameter binary_data or the request's binary_data_output"
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
