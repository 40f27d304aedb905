"""Error kinds as HTTP statuses: the one table, used by every dialect and the control API."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maas.core.errors import ErrorKind

HTTP_STATUS: Mapping[ErrorKind, int] = MappingProxyType(
    {
        ErrorKind.INVALID_ARGUMENT: 400,
        ErrorKind.FAILED_PRECONDITION: 400,
        ErrorKind.UNAUTHENTICATED: 401,
        ErrorKind.PERMISSION_DENIED: 403,
        ErrorKind.NOT_FOUND: 404,
        ErrorKind.METHOD_NOT_ALLOWED: 405,
        ErrorKind.ALREADY_EXISTS: 409,
        ErrorKind.TOO_LARGE: 413,
        ErrorKind.UNSUPPORTED_MEDIA: 415,
        ErrorKind.RESOURCE_EXHAUSTED: 429,
        ErrorKind.CANCELLED: 499,
        ErrorKind.INTERNAL: 500,
        ErrorKind.UNIMPLEMENTED: 501,
        ErrorKind.UNAVAILABLE: 503,
        ErrorKind.DEADLINE_EXCEEDED: 504,
    }
)
"""After the table of TensorFlow Serving's REST API; 499 is nginx's, for a caller who went away."""


def kind_of(status: int) -> ErrorKind:
    """The kind that a library's own status stands for; INTERNAL where none does."""
    for kind, value in HTTP_STATUS.items():
        if value == status:
            return kind
    return ErrorKind.INVALID_ARGUMENT if 400 <= status < 500 else ErrorKind.INTERNAL
