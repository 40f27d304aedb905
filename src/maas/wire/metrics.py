"""`GET /metrics`: Prometheus text, on control."""

from __future__ import annotations

from collections.abc import Callable

from litestar import HttpMethod, MediaType, Request, Response, route
from litestar.handlers import HTTPRouteHandler

Headers = list[tuple[bytes, bytes]]


def metrics_route(
    render: Callable[[], bytes], allowed: Callable[[Headers], None]
) -> HTTPRouteHandler:
    """Makes the route.

    Args:
        render: writes the text.
        allowed: raises where a request with those headers may not read it.
    """

    @route(
        "/metrics",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        media_type=MediaType.TEXT,
        sync_to_thread=False,
        include_in_schema=False,
    )
    def metrics(request: Request) -> Response[bytes]:  # type: ignore[type-arg]
        allowed(list(request.scope["headers"]))
        return Response(render(), media_type="text/plain; version=0.0.4")

    return metrics
