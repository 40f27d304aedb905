"""`grpc.health.v1.Health`: what balancers and orchestrators ask.

The empty name means the server; the name of a service here means that service, which stands or
falls with the server.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from maas.core.errors import not_found
from maas.protos import message, parse
from maas.wire.exchange import Exchange, Server
from maas.wire.grpc.rpc import Rpc, Rpcs, Stream, typed

DIALECT = "grpc"
WATCH_S = 1.0
"""How often a watched status is looked at."""
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3


class Health:
    """The two methods.

    Args:
        services: full names of the services here.
    """

    def __init__(self, services: Collection[str]):
        self._services = frozenset(services)

    def rpcs(self) -> Rpcs:
        """The service's methods."""
        request = "grpc.health.v1.HealthCheckRequest"
        return {
            b"/grpc.health.v1.Health/Check": Rpc(
                DIALECT, "health_check", typed(request, self._check), open=True
            ),
            b"/grpc.health.v1.Health/Watch": Rpc(
                DIALECT, "health_watch", streaming=self._watch, open=True
            ),
        }

    async def _check(self, exchange: Exchange, request: Any) -> Any:
        status = self._status(exchange.server, request.service)
        if status == _SERVICE_UNKNOWN:
            raise not_found(f"there is no service {request.service[:80]!r}")
        return message("grpc.health.v1.HealthCheckResponse")(status=status)

    async def _watch(self, stream: Stream) -> None:
        """Sends the status, and again whenever it changes, until the client goes away."""
        data = await stream.next()
        if data is None:
            return
        service = parse(message("grpc.health.v1.HealthCheckRequest"), data).service
        said = None
        gone = False
        while not gone:
            status = self._status(stream.server, service)
            if status != said:
                answer = message("grpc.health.v1.HealthCheckResponse")(status=status)
                await stream.send(answer.SerializeToString())
                said = status
            gone = await stream.gone(WATCH_S)

    def _status(self, server: Server, service: str) -> int:
        if service in ("", *self._services):
            return _SERVING if server.ready() else _NOT_SERVING
        return _SERVICE_UNKNOWN
