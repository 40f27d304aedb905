"""Content types."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError


class Media(Struct, frozen=True):
    """A content type.

    Args:
        kind: `application/json`, in lower case; empty where none was sent.
        parameters: by name in lower case, without their quotes; a boundary keeps its case.
    """

    kind: str
    parameters: Mapping[str, str]


def parse_media(header: bytes) -> Media:
    """Reads a content-type header, as RFC 9110 section 8.3.1 writes it."""
    kind, *rest = header.decode("latin-1").split(";")
    parameters = {}
    for one in rest:
        name, _, value = one.partition("=")
        if name.strip():
            parameters[name.strip().lower()] = value.strip().strip('"')
    return Media(kind.strip().lower(), parameters)


def unsupported(message: str) -> MaasError:
    """The error for a body of a kind that is not read here."""
    return MaasError(ErrorKind.UNSUPPORTED_MEDIA, message)
