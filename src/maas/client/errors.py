"""Errors of the SDK, and how an answer that is not 2xx becomes one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from maas.core.errors import ErrorKind, MaasError
from maas.core.records import ErrorBody

STATUS_KIND: Mapping[int, ErrorKind] = {
    400: ErrorKind.INVALID_ARGUMENT,
    401: ErrorKind.UNAUTHENTICATED,
    403: ErrorKind.PERMISSION_DENIED,
    404: ErrorKind.NOT_FOUND,
    405: ErrorKind.METHOD_NOT_ALLOWED,
    408: ErrorKind.DEADLINE_EXCEEDED,
    409: ErrorKind.ALREADY_EXISTS,
    413: ErrorKind.TOO_LARGE,
    415: ErrorKind.UNSUPPORTED_MEDIA,
    422: ErrorKind.INVALID_ARGUMENT,
    429: ErrorKind.RESOURCE_EXHAUSTED,
    499: ErrorKind.CANCELLED,
    501: ErrorKind.UNIMPLEMENTED,
    502: ErrorKind.UNAVAILABLE,
    503: ErrorKind.UNAVAILABLE,
    504: ErrorKind.DEADLINE_EXCEEDED,
}
"""The kind an answer has when its body names none (a protocol's own shape, or a proxy's page)."""

OPENAI_KIND: Mapping[str, ErrorKind] = {
    "context_length_exceeded": ErrorKind.CONTEXT_EXCEEDED,
    "invalid_api_key": ErrorKind.UNAUTHENTICATED,
    "model_not_found": ErrorKind.NOT_FOUND,
    "permission_error": ErrorKind.PERMISSION_DENIED,
    "rate_limit_exceeded": ErrorKind.RESOURCE_EXHAUSTED,
}
"""Codes and types of OpenAI's errors that say more than a status, or come within a stream."""

LONGEST_MESSAGE = 2_000
"""Characters kept of a message that came over the network."""


class ApiError(MaasError):
    """The server answered with an error.

    Args:
        kind: the neutral kind.
        message: the server's sentence.
        status: the HTTP status; 0 where a publish job failed after it was accepted.
        request_id: what to quote to the server's operator; may be empty.
        retry_after_s: seconds after which trying again makes sense, where the server said so.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        status: int = 0,
        request_id: str = "",
        retry_after_s: float | None = None,
    ):
        super().__init__(kind, message, retry_after_s=retry_after_s)
        self.status = status
        self.request_id = request_id


class ServerUnreachable(MaasError):  # noqa: N818  # the name of the SDK's contract
    """No answer came: nothing listens there, or the connection broke."""

    def __init__(self, message: str):
        super().__init__(ErrorKind.UNAVAILABLE, message)


def job_error(body: ErrorBody) -> ApiError:
    """Makes the error of a job that failed after it was accepted."""
    return ApiError(_kind(body.kind, 0), body.message, request_id=body.request_id)


def answer_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Reads an answer that is not 2xx.

    Args:
        status: the HTTP status.
        headers: the answer's headers, lower-case or case-insensitive.
        body: the control API's `{"error": {"kind", "message", "request_id"}}`, a dialect's
            `{"error": "…"}`, or anything a proxy may have put there.
    """
    found = _read(body)
    request_id = found.request_id if found else ""
    message = found.message if found else ""
    if not message:
        message = f"the server answered {status} without saying why"
        if status in (301, 302, 303, 307, 308):
            message = f"the server answered {status} and wants another URL; check the address"
    return ApiError(
        _kind(found.kind if found else "", status),
        message[:LONGEST_MESSAGE],
        status=status,
        request_id=request_id or headers.get("x-request-id", ""),
        retry_after_s=_seconds(headers.get("retry-after", "")),
    )


def frame_error(data: bytes) -> ApiError:
    """Reads an error that came within a stream: `{"error": {…}}`, after an answer had begun."""
    found = _read(data) or ErrorBody("", "the server broke the answer off without saying why")
    return ApiError(
        _kind(found.kind, 0), found.message[:LONGEST_MESSAGE], request_id=found.request_id
    )


class _Error(msgspec.Struct):
    """The control API's error, and OpenAI's, which has a code and a type instead of a kind."""

    message: str
    kind: str = ""
    code: str | int | None = None
    type: str | None = None
    request_id: str = ""


class _Named(msgspec.Struct):
    error: _Error | str


def _read(body: bytes) -> ErrorBody | None:
    try:
        error = msgspec.json.decode(body, type=_Named).error
    except msgspec.DecodeError:
        return None
    if isinstance(error, str):
        return ErrorBody("", error)
    return ErrorBody(error.kind or _openai_kind(error), error.message, error.request_id)


def _openai_kind(error: _Error) -> str:
    for name in (error.code, error.type):
        if isinstance(name, str) and name in OPENAI_KIND:
            return OPENAI_KIND[name]
    return ""


def _kind(name: str, status: int) -> ErrorKind:
    try:
        return ErrorKind(name)
    except ValueError:
        return STATUS_KIND.get(status, ErrorKind.INTERNAL)


def _seconds(text: str) -> float | None:
    """Reads `Retry-After` in its form of seconds; a date is not worth a clock comparison here."""
    return float(text) if text.isascii() and text.isdigit() else None
