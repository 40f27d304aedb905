"""Answers, lists and errors → TorchServe's bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import orjson
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import InferReply, VersionStatus
from maas.core.states import ServableState
from maas.dialects.tensorjson.text import array_text, object_text
from maas.dialects.torchserve.decode import Prediction

ERROR_TYPES: Mapping[ErrorKind, str] = MappingProxyType(
    {
        ErrorKind.INVALID_ARGUMENT: "BadRequestException",
        ErrorKind.FAILED_PRECONDITION: "BadRequestException",
        ErrorKind.CONTEXT_EXCEEDED: "BadRequestException",
        ErrorKind.UNAUTHENTICATED: "InvalidKeyException",
        ErrorKind.PERMISSION_DENIED: "InvalidKeyException",
        ErrorKind.NOT_FOUND: "ModelNotFoundException",
        ErrorKind.METHOD_NOT_ALLOWED: "MethodNotAllowedException",
        ErrorKind.ALREADY_EXISTS: "ConflictStatusException",
        ErrorKind.TOO_LARGE: "RequestEntityTooLargeException",
        ErrorKind.UNSUPPORTED_MEDIA: "BadRequestException",
        ErrorKind.RESOURCE_EXHAUSTED: "ServiceUnavailableException",
        ErrorKind.CANCELLED: "BadRequestException",
        ErrorKind.INTERNAL: "InternalServerException",
        ErrorKind.UNIMPLEMENTED: "NotImplementedException",
        ErrorKind.UNAVAILABLE: "ServiceUnavailableException",
        ErrorKind.DEADLINE_EXCEEDED: "ServiceUnavailableException",
    }
)
"""Names of the exceptions in TorchServe's `org.pytorch.serve.http`; the status is the caller's."""


class ListedModel(Struct, frozen=True):
    """One model of a list: its name, and what its default version is called by."""

    name: str
    version: int


def encode_prediction(reply: InferReply, request: Prediction) -> bytes:
    """Writes an answer: the value of an only output, else an object of them all."""
    outputs = dict(reply.outputs)
    if request.unbatch:
        outputs = {name: _without_batch_axis(array) for name, array in outputs.items()}
    if len(outputs) == 1:
        [array] = outputs.values()
        return array_text(array)
    return object_text((name, array_text(array)) for name, array in outputs.items())


def encode_models(models: Sequence[ListedModel], next_token: str | None) -> bytes:
    """Writes `GET /models`; `nextPageToken` only where there are more."""
    body: dict[str, object] = {
        "models": [
            {"modelName": one.name, "modelUrl": f"{one.name}:{one.version}"} for one in models
        ]
    }
    if next_token is not None:
        body["nextPageToken"] = next_token
    return orjson.dumps(body)


def encode_description(statuses: Sequence[VersionStatus]) -> bytes:
    """Writes `GET /models/NAME`: what is true here of what TorchServe says of a version."""
    return orjson.dumps(
        [
            {
                "modelName": status.servable.name,
                "modelVersion": str(status.servable.version),
                "modelUrl": str(status.servable),
                "workers": [{"id": str(status.servable), "status": _worker_status(status)}],
                "reason": status.reason,
            }
            for status in statuses
        ]
    )


def encode_health(good: bool) -> bytes:
    """Writes `GET /ping`."""
    return b'{"status":"Healthy"}' if good else b'{"status":"Unhealthy"}'


def encode_error(error: MaasError, status: int) -> bytes:
    """Writes `{"code", "type", "message"}`; the code is the HTTP status it is answered with."""
    kind = ERROR_TYPES[error.kind]
    return orjson.dumps({"code": status, "type": kind, "message": error.message})


def _worker_status(status: VersionStatus) -> str:
    return "READY" if status.state is ServableState.AVAILABLE else "UNLOADING"


def _without_batch_axis(array: np.ndarray) -> np.ndarray:
    if array.ndim and array.shape[0] == 1:
        return array.reshape(array.shape[1:])
    return array
