"""Error kinds as HTTP and gRPC statuses: the one table, for every dialect and the control API."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maas.core.errors import ErrorKind

HTTP_STATUS: Mapping[ErrorKind, int] = MappingProxyType(
    {
        ErrorKind.INVALID_ARGUMENT: 400,
        ErrorKind.FAILED_PRECONDITION: 400,
        ErrorKind.CONTEXT_EXCEEDED: 400,
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

GRPC_STATUS: Mapping[ErrorKind, int] = MappingProxyType(
    {
        ErrorKind.CANCELLED: 1,
        ErrorKind.INVALID_ARGUMENT: 3,
        ErrorKind.CONTEXT_EXCEEDED: 3,
        ErrorKind.DEADLINE_EXCEEDED: 4,
        ErrorKind.NOT_FOUND: 5,
        ErrorKind.ALREADY_EXISTS: 6,
        ErrorKind.PERMISSION_DENIED: 7,
        ErrorKind.RESOURCE_EXHAUSTED: 8,
        ErrorKind.TOO_LARGE: 8,
        ErrorKind.FAILED_PRECONDITION: 9,
        ErrorKind.UNIMPLEMENTED: 12,
        ErrorKind.METHOD_NOT_ALLOWED: 12,
        ErrorKind.UNSUPPORTED_MEDIA: 12,
        ErrorKind.INTERNAL: 13,
        ErrorKind.UNAVAILABLE: 14,
        ErrorKind.UNAUTHENTICATED: 16,
    }
)
"""gRPC's codes by number (grpc/doc/statuscodes.md); a message too large is RESOURCE_EXHAUSTED, and
a compression that is not read UNIMPLEMENTED, as its compression.md has it."""


def kind_of(status: int) -> ErrorKind:
    """The kind that a library's own status stands for; INTERNAL where none does."""
    for kind, value in HTTP_STATUS.items():
        if value == status:
            return kind
    return ErrorKind.INVALID_ARGUMENT if 400 <= status < 500 else ErrorKind.INTERNAL
