"""The data plane: a bare ASGI application, every tensor dialect on one port.

```
scope ─▶ route ─▶ key ─▶ body ─▶ dialect.decode ─▶ Engine.infer ─▶ dialect.encode ─▶ send
```

One pass a request and no object more than it needs: this is the path of every prediction. Large
bodies are decoded on a thread, so that small calls beside them do not wait.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from secrets import token_hex

from maas.access.authenticator import Authenticator
from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import CallContext, Principal
from maas.core.ports import Engine
from maas.serving.router import Router
from maas.settings import Settings
from maas.telemetry.metrics import Counter, Metrics
from maas.wire import oip, plain, tfserving
from maas.wire.exchange import Exchange, Handler
from maas.wire.http import (
    Answer,
    Receive,
    Scope,
    Send,
    clean_request_id,
    header,
    read_body,
    send_answer,
)
from maas.wire.routes import PROBES, Dialect, Route, Verb, dialect_of, match
from maas.wire.status import HTTP_STATUS

log = logging.getLogger("maas.dataplane")

ROUTES_KEPT = 4096
ANONYMOUS_PROBE = Principal("", "probe", "caller")

_HANDLERS: dict[tuple[Dialect, Verb], Handler] = {
    (Dialect.PLAIN, Verb.INDEX): plain.index,
    (Dialect.PLAIN, Verb.LIVE): plain.live,
    (Dialect.PLAIN, Verb.READY): plain.ready,
    (Dialect.PLAIN, Verb.PREDICT): plain.predict,
    (Dialect.PLAIN, Verb.CLASSIFY): plain.classify,
    (Dialect.OIP, Verb.SERVER_METADATA): oip.server_metadata,
    (Dialect.OIP, Verb.LIVE): oip.live,
    (Dialect.OIP, Verb.READY): oip.ready,
    (Dialect.OIP, Verb.MODEL_METADATA): oip.model_metadata,
    (Dialect.OIP, Verb.MODEL_READY): oip.model_ready,
    (Dialect.OIP, Verb.PREDICT): oip.infer,
    (Dialect.TFSERVING, Verb.PREDICT): tfserving.predict,
    (Dialect.TFSERVING, Verb.MODEL_STATUS): tfserving.status,
    (Dialect.TFSERVING, Verb.MODEL_METADATA): tfserving.metadata,
}
_ERRORS: dict[Dialect, Callable[[MaasError, str], bytes]] = {
    Dialect.PLAIN: plain.error_body,
    Dialect.OIP: oip.error_body,
    Dialect.TFSERVING: tfserving.error_body,
}


class DataPlane:
    """Answers HTTP requests.

    Args:
        engine: what predicts, gate and meter included.
        router: what knows the plan, for status pages.
        authenticator: whose request it is.
        settings: limits, defaults.
        metrics: where requests are counted.
        ready: whether this process holds an acknowledged plan.
    """

    def __init__(
        self,
        engine: Engine,
        router: Router,
        authenticator: Authenticator,
        settings: Settings,
        metrics: Metrics,
        ready: Callable[[], bool],
    ):
        self.engine = engine
        self.router = router
        self.settings = settings
        self.ready = ready
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._authenticator = authenticator
        self._metrics = metrics
        self._requests: dict[tuple[str, str, int], Counter] = {}
        self._routes: dict[bytes, Route] = {}
        self._ids = count(1)
        self._prefix = token_hex(6)
        self._call_s = settings.limits.call_s
        self._body_bytes = settings.limits.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        path: bytes = scope["raw_path"]
        headers = scope["headers"]
        given = header(headers, b"x-request-id")
        request_id = None if given is None else clean_request_id(given)
        if request_id is None:
            request_id = f"{self._prefix}-{next(self._ids):x}"
        route = self._routes.get(path)
        try:
            if route is None:
                route = self._match(path)
            method = scope["method"]
            if method != route.method and not (method == "HEAD" and route.method == "GET"):
                raise _wrong_method(method, route)
            principal = (
                ANONYMOUS_PROBE
                if route.verb in PROBES
                else self._authenticator.authenticate(headers)
            )
            body = (
                await read_body(receive, headers, self._body_bytes)
                if route.method == "POST"
                else b""
            )
            context = CallContext(
                request_id, principal, time.monotonic() + self._call_s, route.dialect
            )
            answer = await _HANDLERS[route.dialect, route.verb](
                Exchange(self, route, context, body)
            )
        except MaasError as error:
            dialect = dialect_of(path) if route is None else route.dialect
            answer = self._error(error, dialect, request_id, route)
        except Exception:
            log.exception("a request failed", extra={"request_id": request_id})
            dialect = dialect_of(path) if route is None else route.dialect
            internal = MaasError(
                ErrorKind.INTERNAL, f"the server failed on this request; its id is {request_id}"
            )
            answer = self._error(internal, dialect, request_id, route)
        self._count(route, answer.status)
        if scope["method"] == "HEAD":
            answer.body = b""
        await send_answer(send, answer, request_id)

    def _match(self, path: bytes) -> Route:
        route = match(path)
        if len(self._routes) >= ROUTES_KEPT:
            self._routes.clear()
        self._routes[path] = route
        return route

    def _error(
        self, error: MaasError, dialect: Dialect, request_id: str, route: Route | None
    ) -> Answer:
        headers = []
        if error.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
        if error.kind is ErrorKind.UNAUTHENTICATED:
            headers.append((b"www-authenticate", b"Bearer"))
        if error.kind is ErrorKind.METHOD_NOT_ALLOWED and route is not None:
            headers.append((b"allow", route.method.encode("ascii")))
        return Answer(_ERRORS[dialect](error, request_id), HTTP_STATUS[error.kind], headers=headers)

    def _count(self, route: Route | None, status: int) -> None:
        key = ("none", "none", status) if route is None else (route.dialect, route.verb, status)
        counter = self._requests.get(key)
        if counter is None:
            counter = self._requests[key] = self._metrics.counter(
                "maas_http_requests_total", (str(key[0]), str(key[1]), str(status))
            )
        counter.count += 1


def _wrong_method(method: str, route: Route) -> MaasError:
    return MaasError(
        ErrorKind.METHOD_NOT_ALLOWED, f"{method[:16]} is not answered here; use {route.method}"
    )
