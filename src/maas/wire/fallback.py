"""uvicorn as the front, where Envoy cannot be embedded: HTTP/1.1 only.

What Envoy routes to control's socket, `ControlProxy` carries there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import uvicorn

from maas.settings import ServerSettings
from maas.wire.envoy import CONTROL_PREFIXES, MAX_HEADERS_KB
from maas.wire.http import Receive, Scope, Send

_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"te", b"upgrade"))


class ControlProxy:
    """An ASGI application around another: control's paths go to its Unix socket, streamed.

    Args:
        app: what answers everything else.
        socket: control's HTTP socket.
    """

    def __init__(self, app: object, socket: Path):
        self._app = app
        self._socket = socket
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or runs the application's lifespan."""
        if scope["type"] == "http" and is_control(scope["raw_path"]):
            await self._forward(scope, receive, send)
        else:
            await self._app(scope, receive, send)  # type: ignore[operator]

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._client is None:
            transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
            timeout = httpx.Timeout(None, connect=1.0)
            self._client = httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)
        path: bytes = scope["raw_path"]
        query: bytes = scope["query_string"]
        url = httpx.URL("http://control", raw_path=path + (b"?" + query if query else b""))
        request = httpx.Request(
            scope["method"],
            url,
            headers=[(k, v) for k, v in scope["headers"] if k not in _HOP_BY_HOP],
            content=_body(receive) if _has_body(scope) else None,
            # As it came: httpx would resolve `..` before control could refuse it.
            extensions={"target": path + (b"?" + query if query else b"")},
        )
        if b"content-length" in dict(scope["headers"]):
            request.headers.pop("transfer-encoding", None)
        try:
            response = await self._client.send(request, stream=True)
        except ClientGoneError:
            return
        except httpx.HTTPError:
            await _unavailable(send)
            return
        try:
            headers = [(k.lower(), v) for k, v in response.headers.raw if k not in _HOP_BY_HOP]
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status_code,
                    "headers": [pair for pair in headers if pair[0] not in _HOP_BY_HOP],
                }
            )
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await response.aclose()


def is_control(path: bytes) -> bool:
    """Whether control answers that path: a prefix, matched on whole segments."""
    text = path.decode("latin-1")
    return any(text == prefix or text.startswith(prefix + "/") for prefix in CONTROL_PREFIXES)


class ClientGoneError(Exception):
    """The client went away before the end of its request."""


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """The request's body as it comes.

    Raises:
        ClientGoneError: half of it must not look to control like the whole.
    """
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _unavailable(send: Send) -> None:
    body = b'{"error":{"kind":"unavailable","message":"the control process does not answer"}}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve(app: object, settings: ServerSettings) -> None:
    """Runs uvicorn until SIGTERM; requests in flight are let end within `drain_s`."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host.strip("[]"),
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="on",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.drain_s),
        h11_max_incomplete_event_size=MAX_HEADERS_KB << 10,
    )
    uvicorn.Server(config).run()
