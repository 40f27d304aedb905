"""The control API as one ASGI application.

request ─▶ Boundary (id, Host, Origin, path) ─▶ Litestar: route ─▶ guard (key, role) ─▶ handler
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.types import ASGIApp, ControllerRouterHandler

from maas.wire.api import imports, keys, models, operations, planned, processes, publishing
from maas.wire.api.boundary import Boundary
from maas.wire.api.docs import docs_config
from maas.wire.api.errors import ApiRequest, answer_exception
from maas.wire.api.security import key_guard
from maas.wire.api.services import ApiServices

BODY_BYTES = 1 << 20
"""Largest JSON body of the control API; an upload has its own limit."""


def create_api(
    services: ApiServices,
    *,
    allowed_hosts: Collection[str] = (),
    extra_routes: Sequence[ControllerRouterHandler] = (),
) -> ASGIApp:
    """Makes the application that answers `/api`, `/docs` and what else is given.

    Args:
        services: what the routes work with.
        allowed_hosts: names that the server goes by beside loopback's, without port; `*` for
            any.
        extra_routes: further Litestar handlers, outside `/api` and so without a key.
    """
    return Boundary(create_litestar(services, extra_routes), allowed_hosts)


def create_litestar(
    services: ApiServices, extra_routes: Sequence[ControllerRouterHandler] = ()
) -> Litestar:
    """Makes the application within the boundary."""
    handlers: list[ControllerRouterHandler] = [
        *processes.HANDLERS,
        *models.HANDLERS,
        *publishing.HANDLERS,
        *operations.HANDLERS,
        *keys.HANDLERS,
        *imports.HANDLERS,
        *planned.HANDLERS,
    ]
    api = Router(
        "/api",
        route_handlers=handlers,
        guards=[key_guard(services.authenticator)],
        dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
    )
    return Litestar(
        [api, *extra_routes],
        exception_handlers={Exception: answer_exception},
        openapi_config=docs_config(),
        request_class=ApiRequest,
        request_max_body_size=BODY_BYTES,
        logging_config=None,
    )
