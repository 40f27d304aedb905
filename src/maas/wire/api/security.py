"""Whose key may use which route, decided on the matched route and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from maas.access import Action, Authenticator, check_allowed

ACTION = "action"
"""The handler option that names what a route does. A route without it is the owner's alone."""

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


def key_guard(authenticator: Authenticator) -> Guard:
    """Makes the guard of all routes under `/api`.

    Args:
        authenticator: of the control plane: it requires a key.
    """

    def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Lets through who may do what the matched route does.

        Raises:
            MaasError: UNAUTHENTICATED, PERMISSION_DENIED.
        """
        principal = authenticator.authenticate(connection.scope["headers"])
        check_allowed(principal, handler.opt.get(ACTION, Action.MANAGE_KEYS))
        connection.scope["user"] = principal

    return guard
