"""The plain calls' paths: `/NAME/predict`, `/predict`, `/classify`; the probes; the index."""

from __future__ import annotations

from maas.core.identity import parse_ref
from maas.wire.plain import handlers
from maas.wire.routes import Dialect, Family, Route, no_route, segments_of, trailing_slash

_HANDLERS = {"predict": handlers.predict, "classify": handlers.classify}
_READY = Route(Dialect.PLAIN, "ready", {"GET": handlers.ready}, open=True)
_FIXED = {
    b"/": Route(Dialect.PLAIN, "index", {"GET": handlers.index}, open=True),
    b"/livez": Route(Dialect.PLAIN, "live", {"GET": handlers.live}, open=True),
    b"/readyz": _READY,
    b"/healthz": _READY,
    b"/predict": Route(Dialect.PLAIN, "predict", {"POST": handlers.predict}),
    b"/classify": Route(Dialect.PLAIN, "classify", {"POST": handlers.classify}),
}


def _match(path: bytes) -> Route:
    segments = segments_of(path[1:])
    if len(segments) == 3 and segments[2] == "" and segments[1] in _HANDLERS:
        raise trailing_slash()
    if len(segments) == 2 and segments[1] in _HANDLERS:
        verb = segments[1]
        return Route(Dialect.PLAIN, verb, {"POST": _HANDLERS[verb]}, parse_ref(segments[0]))
    raise no_route(path)


FAMILY = Family(Dialect.PLAIN, (), _FIXED, _match, handlers.error_body)
