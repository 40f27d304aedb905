"""TorchServe's paths: `/predictions/NAME[/VERSION]`, `/models`, `/models/NAME`."""

from __future__ import annotations

from maas.core.errors import invalid
from maas.core.identity import ModelRef, parse_ref, parse_version
from maas.wire.routes import Dialect, Family, Route, no_route, segments_of, trailing_slash
from maas.wire.torchserve import handlers

_PREDICTIONS, _MODELS = b"/predictions/", b"/models/"
_UNMANAGED = dict.fromkeys(("POST", "PUT", "DELETE"), handlers.not_managed_here)
_FIXED = {
    b"/models": Route(Dialect.TORCHSERVE, "models", {"GET": handlers.models, **_UNMANAGED}),
}


def _match(path: bytes) -> Route:
    """`NAME[/VERSION]` below either prefix; a version may be written `3.0`."""
    predicts = path.startswith(_PREDICTIONS)
    prefix = _PREDICTIONS if predicts else _MODELS
    segments = segments_of(path[len(prefix) :])
    ref = parse_ref(segments[0])
    if len(segments) > 1 and segments[-1] == "":
        raise trailing_slash()
    if len(segments) == 2:
        if ref.alias is not None or ref.version is not None:
            raise invalid(
                f"{str(ref)!r} and {segments[1][:40]!r} both name a version; use one of them"
            )
        ref = ModelRef(ref.name, version=parse_version(segments[1].removesuffix(".0")))
    elif len(segments) > 2:
        raise no_route(path)
    if predicts:
        answers = {"POST": handlers.predictions, "PUT": handlers.predictions}
        return Route(Dialect.TORCHSERVE, "predict", answers, ref)
    described = {"GET": handlers.describe, **_UNMANAGED}
    return Route(Dialect.TORCHSERVE, "model_status", described, ref)


FAMILY = Family(Dialect.TORCHSERVE, (_PREDICTIONS, _MODELS), _FIXED, _match, handlers.error_body)
