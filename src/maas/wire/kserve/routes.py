"""KServe's own path of the V1 protocol: `/v1/models`; the rest is TensorFlow Serving's."""

from __future__ import annotations

from maas.wire.kserve import handlers
from maas.wire.routes import Dialect, Family, Route, no_route

_FIXED = {b"/v1/models": Route(Dialect.KSERVE, "models", {"GET": handlers.models})}


def _match(path: bytes) -> Route:
    raise no_route(path)


FAMILY = Family(Dialect.KSERVE, (), _FIXED, _match, handlers.error_body)
