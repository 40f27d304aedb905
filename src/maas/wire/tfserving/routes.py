"""TensorFlow Serving's paths: `/v1/models/…`."""

from __future__ import annotations

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import ModelRef, check_name, parse_version
from maas.wire.routes import Dialect, Family, Route, segments_of
from maas.wire.tfserving import handlers

_MODELS = b"/v1/models/"
_CALLS = {
    "predict": handlers.predict,
    "classify": handlers.classify,
    "regress": handlers.regress,
}


def _match(path: bytes) -> Route:
    """`NAME[/versions/N|/labels/L]` with a verb such as `:predict`, `/metadata` or nothing.

    A malformed route is 400, as in TensorFlow Serving's `http_rest_api_handler.cc`.
    """
    segments = segments_of(path[len(_MODELS) :])
    malformed = invalid(
        "malformed request; expected /v1/models/NAME[/versions/N|/labels/L] with :predict, "
        ":classify, :regress, /metadata or nothing"
    )
    last, colon, verb = segments[-1].rpartition(":")
    if not colon:
        last, verb = segments[-1], ""
    elif not verb:
        raise malformed
    segments = [*segments[:-1], last]
    metadata = not verb and len(segments) in (2, 4) and segments[-1] == "metadata"
    if metadata:
        segments.pop()
    name = check_name(segments[0])
    if len(segments) == 1:
        ref = ModelRef(name)
    elif len(segments) == 3 and segments[1] == "versions":
        ref = ModelRef(name, version=parse_version(segments[2]))
    elif len(segments) == 3 and segments[1] == "labels":
        ref = ModelRef(name, alias=check_name(segments[2], "label"))
    else:
        raise malformed
    if verb in _CALLS:
        return Route(Dialect.TFSERVING, verb, {"POST": _CALLS[verb]}, ref)
    if verb == "explain":
        raise MaasError(ErrorKind.UNIMPLEMENTED, f":{verb} is not built yet; use :predict")
    if verb:
        raise malformed
    if metadata:
        return Route(Dialect.TFSERVING, "model_metadata", {"GET": handlers.metadata}, ref)
    return Route(Dialect.TFSERVING, "model_status", {"GET": handlers.status}, ref)


FAMILY = Family(Dialect.TFSERVING, (_MODELS,), {}, _match, handlers.error_body)
