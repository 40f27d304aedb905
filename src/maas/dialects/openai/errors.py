"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, all four always."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import orjson

from maas.core.errors import ErrorKind, MaasError

_TYPES = {
    ErrorKind.PERMISSION_DENIED: "permission_error",
    ErrorKind.RESOURCE_EXHAUSTED: "rate_limit_error",
    ErrorKind.INTERNAL: "server_error",
    ErrorKind.UNIMPLEMENTED: "server_error",
    ErrorKind.UNAVAILABLE: "server_error",
    ErrorKind.DEADLINE_EXCEEDED: "server_error",
}
_CODES = {
    ErrorKind.UNAUTHENTICATED: "invalid_api_key",
    ErrorKind.CONTEXT_EXCEEDED: "context_length_exceeded",
    ErrorKind.RESOURCE_EXHAUSTED: "rate_limit_exceeded",
}
_FINAL = frozenset((ErrorKind.DEADLINE_EXCEEDED, ErrorKind.UNIMPLEMENTED, ErrorKind.ALREADY_EXISTS))
"""Errors of a status that clients try again on, where that does not help."""


class ParameterError(MaasError):
    """An error that is about one parameter of the request.

    Args:
        param: its name, such as `messages[0].role`.
        message: one or two sentences.
        code: what programs know it by; None for that of its kind.
        kind: the neutral kind.
    """

    def __init__(
        self,
        param: str,
        message: str,
        *,
        code: str | None = None,
        kind: ErrorKind = ErrorKind.INVALID_ARGUMENT,
    ):
        super().__init__(kind, message)
        self.param = param
        self.code = code


@contextmanager
def about(param: str) -> Iterator[None]:
    """Errors raised within are about that parameter, where they name none themselves."""
    try:
        yield
    except ParameterError:
        raise
    except MaasError as error:
        raise ParameterError(param, error.message, kind=error.kind) from None


def encode_error(error: MaasError) -> bytes:
    """Writes an error."""
    param = code = None
    if isinstance(error, ParameterError):
        param, code = error.param, error.code
    return orjson.dumps(
        {
            "error": {
                "message": error.message,
                "type": _TYPES.get(error.kind, "invalid_request_error"),
                "param": param,
                "code": code or _CODES.get(error.kind),
            }
        }
    )


def error_headers(error: MaasError) -> Sequence[tuple[bytes, bytes]]:
    """What OpenAI's clients go by when they try again: in milliseconds, or not at all."""
    if error.retry_after_s is not None:
        wait_ms = max(1, round(error.retry_after_s * 1000))
        return ((b"x-should-retry", b"true"), (b"retry-after-ms", b"%d" % wait_ms))
    return ((b"x-should-retry", b"false"),) if error.kind in _FINAL else ()
