"""MLflow's and SageMaker's paths: `/invocations`, `/ping`, `/health`, `/version`."""

from __future__ import annotations

from maas.wire.mlflow import handlers
from maas.wire.routes import Dialect, Family, Route, no_route

_HEALTH = Route(Dialect.MLFLOW, "ready", {"GET": handlers.health}, open=True)
_FIXED = {
    b"/invocations": Route(Dialect.MLFLOW, "predict", {"POST": handlers.invocations}),
    b"/ping": _HEALTH,
    b"/health": _HEALTH,
    b"/version": Route(Dialect.MLFLOW, "version", {"GET": handlers.version}, open=True),
}


def _match(path: bytes) -> Route:
    raise no_route(path)


FAMILY = Family(Dialect.MLFLOW, (b"/invocations/",), _FIXED, _match, handlers.error_body)
