"""Domain errors. They carry a kind, never a status code.

`ErrorKind` → HTTP status and TensorFlow Serving / gRPC code is one table, `HTTP_STATUS` in
`maas.wire.status`; each dialect writes the body in its own shape.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorKind(StrEnum):
    """What went wrong, in the vocabulary of gRPC's status codes."""

    INVALID_ARGUMENT = "invalid_argument"
    """The request itself is wrong; sending it again will not help."""
    FAILED_PRECONDITION = "failed_precondition"
    """The request is well formed but not possible in the present state."""
    UNAUTHENTICATED = "unauthenticated"
    """No key, or a key that is not known."""
    PERMISSION_DENIED = "permission_denied"
    """The key is known and may not do this."""
    NOT_FOUND = "not_found"
    """No such model, version, alias, key, operation or route."""
    METHOD_NOT_ALLOWED = "method_not_allowed"
    """The route exists; the HTTP method is not one of its own."""
    ALREADY_EXISTS = "already_exists"
    """Something of that name is there and is not the same thing."""
    CONTEXT_EXCEEDED = "context_exceeded"
    """A prompt longer than the language model's context; INVALID_ARGUMENT in other protocols."""
    TOO_LARGE = "too_large"
    """A body, tensor or upload beyond its limit."""
    UNSUPPORTED_MEDIA = "unsupported_media"
    """A content type or content encoding that is not read here."""
    RESOURCE_EXHAUSTED = "resource_exhausted"
    """A queue, disk or quota is full; try again later."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """The call's deadline passed before there was an answer."""
    CANCELLED = "cancelled"
    """The caller went away."""
    UNIMPLEMENTED = "unimplemented"
    """Planned or part of the protocol, and not built here."""
    UNAVAILABLE = "unavailable"
    """Not loaded, being replaced, or its process has died; try again."""
    INTERNAL = "internal"
    """Our fault."""


class MaasError(Exception):
    """An error meant for the caller: what was wrong, what was expected, what to do.

    Args:
        kind: the neutral kind; each protocol maps it.
        message: one or two sentences, without paths, addresses or traces of the server.
        retry_after_s: seconds after which trying again makes sense, where that is known.
    """

    def __init__(self, kind: ErrorKind, message: str, *, retry_after_s: float | None = None):
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after_s = retry_after_s


def invalid(message: str) -> MaasError:
    """Makes the commonest error, `INVALID_ARGUMENT`."""
    return MaasError(ErrorKind.INVALID_ARGUMENT, message)


def not_found(message: str) -> MaasError:
    """Makes a `NOT_FOUND` error."""
    return MaasError(ErrorKind.NOT_FOUND, message)
