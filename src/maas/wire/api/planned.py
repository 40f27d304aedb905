"""Routes that are planned and not built: they want a key and answer 501."""

from __future__ import annotations

from litestar import route

from maas.access import Action
from maas.core.errors import ErrorKind, MaasError
from maas.wire.api.security import ACTION

PATHS = ("/tenants", "/usage", "/costs", "/efficiency", "/audit", "/events")


@route(
    list(PATHS),
    http_method=["GET", "POST", "PUT", "PATCH", "DELETE"],
    status_code=501,
    opt={ACTION: Action.READ},
    include_in_schema=False,
)
async def not_built() -> None:
    """Says so.

    Raises:
        MaasError: UNIMPLEMENTED, always.
    """
    raise MaasError(
        ErrorKind.UNIMPLEMENTED, "this part of the control API is planned and not built yet"
    )


HANDLERS = (not_built,)
"""The routes of this module."""
