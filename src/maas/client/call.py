"""One HTTP request as a value, and the parsers of what comes back. No socket is opened here."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import check_name

T = TypeVar("T")

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request and how to read its answer.

    Args:
        method: the HTTP method.
        path: percent-encoded, beginning with `/`.
        parse: reads the body of a 2xx answer.
        params: query parameters; a name may come more than once.
        body: the request's body, or None.
        content_type: of that body.
    """

    method: str
    path: str
    parse: Callable[[bytes], T]
    params: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = JSON


Flow = Generator[Call[Any], Any, T]
"""Requests that follow from each other: yields calls, is sent their answers, returns a result."""


def reader(kind: type[T]) -> Callable[[bytes], T]:
    """Makes a parser of a JSON body that holds one struct.

    Raises (the parser):
        MaasError: INTERNAL where the body is not what this version of the SDK knows.
    """

    def read(body: bytes) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise MaasError(
                ErrorKind.INTERNAL,
                f"the answer is not what this client expects ({error}); check that the URL is a "
                "MaaS server's and that client and server have the same version",
            ) from None

    return read


def nothing(_body: bytes) -> None:
    """Parses an answer that has no body worth reading."""


def segment(name: str, what: str = "model name") -> str:
    """Percent-encodes a name for a path.

    Raises:
        MaasError: INVALID_ARGUMENT where it cannot be such a name.
    """
    return quote(check_name(name, what), safe="")


def opaque(identifier: str, what: str) -> str:
    """Percent-encodes an id that the server made up, for a path.

    Raises:
        MaasError: INVALID_ARGUMENT for one that would change the path.
    """
    if identifier in ("", ".", ".."):
        raise invalid(f"{identifier!r} is not a {what}")
    return quote(identifier, safe="")
