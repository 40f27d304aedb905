"""What a path means: the parts that every dialect's route table is made of.

Paths are split first and decoded once, each segment by itself, so that no encoding of `/` or `..`
can move a request from one route to another. Each dialect has its table in a folder of its own;
`maas.wire.table` joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid, not_found
from maas.core.identity import ModelRef
from maas.wire.exchange import Handler
from maas.wire.http import Header


class Dialect(StrEnum):
    """Whose shape requests, answers and errors have; the name in the metrics."""

    PLAIN = "plain"
    OIP = "oip"
    TFSERVING = "tfserving"
    KSERVE = "kserve"
    MLFLOW = "mlflow"
    TORCHSERVE = "torchserve"
    OPENAI = "openai"


class Route(Struct, frozen=True):
    """A path, understood.

    Args:
        dialect: whose shape errors have.
        verb: what is asked, for the metrics.
        handlers: what answers, by HTTP method; GET includes HEAD.
        ref: the model, where the path names one.
        open: it answers without a key.
    """

    dialect: Dialect
    verb: str
    handlers: Mapping[str, Handler]
    ref: ModelRef | None = None
    open: bool = False


class Family(Struct, frozen=True):
    """One dialect's routes.

    Args:
        dialect: whose they are.
        prefixes: what its other paths begin with; an error on such a path has its shape.
        fixed: its paths that name no model.
        match: understands a path that begins with one of the prefixes.
        error_body: an error and the request's id → the body in the dialect's shape.
        error_headers: an error → headers that the dialect's clients act on.
    """

    dialect: Dialect
    prefixes: tuple[bytes, ...]
    fixed: Mapping[bytes, Route]
    match: Callable[[bytes], Route]
    error_body: Callable[[MaasError, str], bytes]
    error_headers: Callable[[MaasError], Sequence[Header]] | None = None


def segments_of(path: bytes) -> list[str]:
    """A path's segments, each percent-decoded by itself.

    Raises:
        MaasError: INVALID_ARGUMENT where one is not UTF-8.
    """
    try:
        return [unquote_to_bytes(segment).decode("utf-8") for segment in path.split(b"/")]
    except UnicodeDecodeError:
        raise invalid("the path is not UTF-8; percent-encode names as UTF-8") from None


def trailing_slash() -> MaasError:
    """The error for a path that would be a route without its last character."""
    return invalid("the path ends in a slash; leave it out")


def planned(path: bytes) -> MaasError:
    """The error for a route that is to come."""
    return MaasError(
        ErrorKind.UNIMPLEMENTED, f"{path.decode('latin-1')[:60]} is planned and not built yet"
    )


def no_route(path: bytes) -> MaasError:
    """The error for a path that means nothing here."""
    shown = path.decode("latin-1")[:80]
    return not_found(
        f"no such route: {shown}; models are called at /NAME/predict, /v2/models/NAME/infer or "
        "/v1/models/NAME:predict, and GET / has links"
    )
