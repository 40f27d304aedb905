"""Errors of the control API: `{"error": {"kind", "message", "request_id"}}`, always."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response
from litestar.datastructures.state import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.messages import Principal
from maas.core.records import ErrorBody
from maas.wire.status import HTTP_STATUS, kind_of

logger = logging.getLogger("maas.api")


class ApiRequest(Request[Principal, Any, State]):
    """A request whose `user` is the principal that the guard let through."""

    async def json(self) -> Any:
        """Reads the body as JSON.

        Raises:
            MaasError: INVALID_ARGUMENT for JSON nested beyond what the parser follows.
        """
        try:
            return await super().json()
        except RecursionError:
            raise invalid("the request's JSON is nested too deeply") from None


UNEXPECTED = "something went wrong inside the server; its log has the details under this request id"
_SENTENCES = {
    404: "there is no such route; see /docs for those there are",
    405: "this route does not have this method; see /docs for those it has",
    413: "the request's body is too large",
}


class ErrorAnswer(Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: ErrorBody


def error_responses(*statuses: int) -> dict[int, ResponseSpec]:
    """Describes the errors a route answers, for its OpenAPI entry: 400, 401, 403 and others."""
    spec = ResponseSpec(ErrorAnswer, generate_examples=False, description="What went wrong")
    return dict.fromkeys((400, 401, 403, *statuses), spec)


def error_answer(error: MaasError, request_id: str) -> tuple[int, ErrorAnswer, dict[str, str]]:
    """Makes an error's status, body and headers."""
    headers: dict[str, str] = {}
    if error.kind is ErrorKind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    body = ErrorAnswer(ErrorBody(error.kind.value, error.message, request_id))
    return HTTP_STATUS[error.kind], body, headers


def answer_exception(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorAnswer]:
    """Answers whatever a route, or the framework around it, has raised."""
    request_id = request_id_of(request)
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException) and error.status_code < 500:
        headers |= error.headers or {}
        error = MaasError(kind_of(error.status_code), _sentence(error))
    elif not isinstance(error, MaasError):
        logger.error(
            "unexpected error in %s %s",
            request.method,
            request.scope.get("path_template") or "an unknown route",
            exc_info=error,
            extra={"request_id": request_id},
        )
        error = MaasError(ErrorKind.INTERNAL, UNEXPECTED)
    status, body, more = error_answer(error, request_id)
    return Response(body, status_code=status, headers=headers | more)


def request_id_of(request: Request[Any, Any, Any]) -> str:
    """The request's id, as the boundary found or made it."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def _sentence(error: HTTPException) -> str:
    """Says in words what the framework refused."""
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        found = [_complaint(entry) for entry in error.extra if isinstance(entry, dict)]
        if found:
            return "; ".join(found)
    return _SENTENCES.get(error.status_code, error.detail)


def _complaint(entry: Mapping[str, Any]) -> str:
    key = str(entry.get("key") or "the request")
    message = str(entry.get("message"))
    where = "the request's body" if key == "data" else key
    return f"{where} is missing" if message == repr(key) else f"{where}: {message}"
