"""The outermost layer of the control API: what holds for every request and every answer.

Each request gets an id, comes to a name of this server and from no foreign web page, and has a
path that means one thing only; each answer carries the id and the headers that keep a browser
from making something of it that it is not.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Collection
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.wire.api.errors import UNEXPECTED, error_answer
from maas.wire.api.origins import check_host, check_origin

logger = logging.getLogger("maas.api")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_AMBIGUOUS = re.compile(rb"%(?:2f|5c|00)|[\\\x00-\x20\x7f]", re.IGNORECASE)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class Boundary:
    """An ASGI application around one.

    Args:
        app: what answers the requests that pass.
        allowed_hosts: names, beside loopback's, that this server goes by; `*` for any.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]):
        self._app = app
        self._allowed = frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _complete(message["headers"], request_id)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, answer)
        except MaasError as error:
            await _refuse(answer, error, request_id)
        except Exception:
            logger.exception("unexpected error", extra={"request_id": request_id})
            if started:
                # The answer is cut off: the server closes the connection, so that nobody takes
                # it for whole.
                raise
            await _refuse(answer, MaasError(ErrorKind.INTERNAL, UNEXPECTED), request_id)

    def _check(self, scope: Any) -> None:
        host = check_host(_values(scope, b"host"), self._allowed)
        check_origin(_values(scope, b"origin"), host)
        check_path(scope.get("raw_path") or scope["path"].encode())


def check_path(raw: bytes) -> None:
    """Refuses a path that two readers could read differently.

    Args:
        raw: as it was sent, without the query.

    Raises:
        MaasError: INVALID_ARGUMENT for an encoded slash, a backslash, a control character, a
            segment that is empty, `.` or `..`, and for what is not UTF-8.
    """
    decoded = unquote_to_bytes(raw)
    segments = decoded.split(b"/")[1:]
    if segments[-1:] == [b""] and not decoded.startswith(b"/api/"):
        segments.pop()
    try:
        decoded.decode()
        plain = not _AMBIGUOUS.search(raw) and not {b"", b".", b".."} & set(segments)
    except UnicodeDecodeError:
        plain = False
    if not plain:
        raise invalid(
            "the path of this request is refused: it has an empty, '.' or '..' segment, an "
            "encoded slash, or is not UTF-8; see /docs for the routes"
        )


def _values(scope: Any, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


def _request_id(scope: Any) -> str:
    for value in _values(scope, b"x-request-id"):
        if _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(16)


def _complete(headers: Any, request_id: str) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name.lower() for name, _ in given}
    given.extend(header for header in _HEADERS if header[0] not in names)
    given.append((b"x-request-id", request_id.encode()))
    return given


async def _refuse(send: Send, error: MaasError, request_id: str) -> None:
    status, answer, headers = error_answer(error, request_id)
    body = msgspec.json.encode(answer)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *((name.lower().encode(), value.encode()) for name, value in headers.items()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
