"""The data plane: a bare ASGI application, every tensor dialect on one port.

```
scope ─▶ route ─▶ key ─▶ body ─▶ dialect.decode ─▶ Engine.infer ─▶ dialect.encode ─▶ send
```

One pass a request and no object more than it needs: this is the path of every prediction. Large
bodies are decoded on a thread, so that small calls beside them do not wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
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
from maas.wire.exchange import LARGE_BYTES, Ask, Exchange
from maas.wire.generation import internal
from maas.wire.grpc.plane import GrpcPlane, has_trailers, is_grpc
from maas.wire.grpc.table import rpcs as grpc_rpcs
from maas.wire.http import (
    COMPRESSED_FROM,
    UNPACKED_AT_ONCE,
    Answer,
    BodyBudget,
    Header,
    Receive,
    Scope,
    Send,
    accepted_encoding,
    clean_request_id,
    compress,
    counted,
    decompress,
    let_go,
    read_body,
    send_answer,
)
from maas.wire.routes import Dialect, Family, Route
from maas.wire.served import ServedNames
from maas.wire.status import HTTP_STATUS
from maas.wire.streaming import Streamed, send_streamed
from maas.wire.table import family_of, match

log = logging.getLogger("maas.dataplane")

ROUTES_KEPT = 4096
PROBE = Principal("", "probe", "caller")


class Endpoint:
    """A path that has been understood once: what answers it, and what was counted there."""

    __slots__ = (
        "compressed",
        "counts",
        "dialect",
        "family",
        "handlers",
        "methods",
        "open",
        "ref",
        "verb",
    )

    def __init__(self, route: Route, family: Family):
        self.handlers = {"HEAD": route.handlers["GET"]} if "GET" in route.handlers else {}
        self.handlers.update(route.handlers)
        self.methods = sorted(route.handlers)
        self.ref = route.ref
        self.verb = route.verb
        self.dialect = route.dialect.value
        self.open = route.open
        self.family = family
        self.counts: dict[int, Counter] = {}
        # As Triton: its asyncio client accepts gzip on every call and undoes it on this one only.
        self.compressed = route.dialect is not Dialect.OIP or route.verb == "predict"


class DataPlane:
    """Answers HTTP requests.

    Args:
        engine: what predicts, gate and meter included.
        router: what knows the plan, for status pages.
        authenticator: whose request it is.
        settings: limits, defaults.
        metrics: where requests are counted.
        ready: whether this process holds an acknowledged plan.
        ask: asks control.
    """

    def __init__(
        self,
        engine: Engine,
        router: Router,
        authenticator: Authenticator,
        settings: Settings,
        metrics: Metrics,
        ready: Callable[[], bool],
        ask: Ask,
    ):
        self.engine = engine
        self.router = router
        self.settings = settings
        self.ready = ready
        self.ask = ask
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._authenticator = authenticator
        self._metrics = metrics
        self._endpoints: dict[bytes, Endpoint] = {}
        self._unrouted: dict[int, Counter] = {}
        self._ids = count(1)
        self._prefix = token_hex(6)
        self.bodies = BodyBudget(settings.limits.bodies_bytes)
        self.served = ServedNames()
        self._grpc = GrpcPlane(self, grpc_rpcs(), authenticator, metrics, self._new_id)
        self._rpcs = self._grpc.rpcs
        self._call_s = settings.limits.call_s
        self._body_bytes = settings.limits.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        path: bytes = scope["raw_path"]
        rpc = self._rpcs.get(path)
        if rpc is not None and has_trailers(scope):
            await self._grpc(rpc, scope, receive, send)
            return
        headers: Sequence[Header] = scope["headers"]
        request_id = None
        encoding = accepted = json_length = b""
        for name, value in headers:
            if name == b"x-request-id":
                request_id = clean_request_id(value)
            elif name == b"content-encoding":
                encoding = value
            elif name == b"accept-encoding":
                accepted = value
            elif name == b"inference-header-content-length":
                json_length = value
        if request_id is None:
            request_id = self._new_id()
        endpoint = self._endpoints.get(path)
        held = 0
        try:
            if endpoint is None:
                endpoint = self._match(path)
            method = scope["method"]
            handler = endpoint.handlers.get(method)
            if handler is None:
                raise _not_allowed(method, endpoint)
            principal = PROBE if endpoint.open else self._authenticator.authenticate(headers)
            body = b""
            if method in ("POST", "PUT"):
                body = await read_body(receive, headers, self._body_bytes, self.bodies)
                held = counted(body)
                if encoding and encoding != b"identity":
                    body = await self._unpacked(body, encoding)
                    self.bodies.take(counted(body))
                    held += counted(body)
            context = CallContext(
                request_id, principal, time.monotonic() + self._call_s, endpoint.dialect, 0, receive
            )
            answer: Answer | Streamed = await handler(
                Exchange(
                    self,
                    endpoint.ref,
                    context,
                    body,
                    headers,
                    scope["query_string"],
                    json_length,
                )
            )
        except MaasError as error:
            if endpoint is None and is_grpc(scope) and has_trailers(scope):
                await self._grpc(None, scope, receive, send)
                return
            answer = self._error(error, path, request_id, endpoint)
        except Exception:
            log.exception("a request failed", extra={"request_id": request_id})
            answer = self._error(internal(request_id), path, request_id, endpoint)
        finally:
            if held:
                self.bodies.give(held)
        status = answer.status
        counts = self._unrouted if endpoint is None else endpoint.counts
        counter = counts.get(status)
        if counter is None:
            counter = counts[status] = self._counter(endpoint, status)
        counter.count += 1
        if isinstance(answer, Streamed):
            body = b""  # not held for as long as the answer takes
            await send_streamed(send, answer, request_id)
            return
        if (
            accepted
            and len(answer.body) >= COMPRESSED_FROM
            and (endpoint is None or endpoint.compressed)
        ):
            wanted = accepted_encoding(accepted)
            if wanted and len(answer.body) < LARGE_BYTES:
                compress(answer, wanted)
            elif wanted:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self.worker, compress, answer, wanted)
        try:
            await send_answer(send, answer, request_id, head=scope["method"] == "HEAD")
        except OSError as error:
            let_go(error)  # the client went away

    async def _unpacked(self, body: bytes, encoding: bytes) -> bytes:
        """The body decompressed: on the thread, where that may take longer than a small call."""
        if len(body) < UNPACKED_AT_ONCE:
            return decompress(body, encoding, self._body_bytes)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.worker, decompress, body, encoding, self._body_bytes)

    def _new_id(self) -> str:
        return f"{self._prefix}-{next(self._ids):x}"

    def _match(self, path: bytes) -> Endpoint:
        endpoint = Endpoint(match(path), family_of(path))
        if len(self._endpoints) >= ROUTES_KEPT:
            self._endpoints.clear()
        self._endpoints[path] = endpoint
        return endpoint

    def _counter(self, endpoint: Endpoint | None, status: int) -> Counter:
        labels = ("none", "none") if endpoint is None else (endpoint.dialect, endpoint.verb)
        return self._metrics.counter("maas_http_requests_total", (*labels, str(status)))

    def _error(
        self, error: MaasError, path: bytes, request_id: str, endpoint: Endpoint | None
    ) -> Answer:
        family = family_of(path) if endpoint is None else endpoint.family
        headers = [] if family.error_headers is None else [*family.error_headers(error)]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
        if error.kind is ErrorKind.UNSUPPORTED_MEDIA:
            headers.append((b"accept-encoding", b"gzip, deflate"))
        if error.kind is ErrorKind.UNAUTHENTICATED:
            headers.append((b"www-authenticate", b"Bearer"))
        if error.kind is ErrorKind.METHOD_NOT_ALLOWED and endpoint is not None:
            headers.append((b"allow", ", ".join(endpoint.methods).encode("ascii")))
        body = family.error_body(error, request_id)
        return Answer(body, HTTP_STATUS[error.kind], headers=headers)


def _not_allowed(method: str, endpoint: Endpoint) -> MaasError:
    return MaasError(
        ErrorKind.METHOD_NOT_ALLOWED,
        f"{method[:16]} is not answered here; use {' or '.join(endpoint.methods)}",
    )
