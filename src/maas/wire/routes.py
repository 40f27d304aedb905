"""The data plane's routes: from a raw path to what is asked of which model.

Paths are split first and decoded once, each segment by itself, so that no encoding of `/` or `..`
can move a request from one route to another.
"""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid, not_found
from maas.core.identity import ModelRef, check_name, parse_ref, parse_version


class Dialect(StrEnum):
    """Whose shape requests, answers and errors have."""

    PLAIN = "plain"
    OIP = "oip"
    TFSERVING = "tfserving"


class Verb(StrEnum):
    """What is asked."""

    INDEX = "index"
    LIVE = "live"
    READY = "ready"
    PREDICT = "predict"
    CLASSIFY = "classify"
    SERVER_METADATA = "server_metadata"
    MODEL_METADATA = "model_metadata"
    MODEL_READY = "model_ready"
    MODEL_STATUS = "model_status"


PROBES = frozenset((Verb.INDEX, Verb.LIVE, Verb.READY))
"""What answers without a key."""


class Route(Struct, frozen=True):
    """A path, understood.

    Args:
        dialect: whose shape errors have.
        verb: what is asked.
        method: the HTTP method it takes (GET includes HEAD).
        ref: the model, where the path names one.
    """

    dialect: Dialect
    verb: Verb
    method: str
    ref: ModelRef | None = None


_FIXED = {
    b"/": Route(Dialect.PLAIN, Verb.INDEX, "GET"),
    b"/livez": Route(Dialect.PLAIN, Verb.LIVE, "GET"),
    b"/readyz": Route(Dialect.PLAIN, Verb.READY, "GET"),
    b"/healthz": Route(Dialect.PLAIN, Verb.READY, "GET"),
    b"/predict": Route(Dialect.PLAIN, Verb.PREDICT, "POST"),
    b"/classify": Route(Dialect.PLAIN, Verb.CLASSIFY, "POST"),
    b"/v2": Route(Dialect.OIP, Verb.SERVER_METADATA, "GET"),
    b"/v2/health/live": Route(Dialect.OIP, Verb.LIVE, "GET"),
    b"/v2/health/ready": Route(Dialect.OIP, Verb.READY, "GET"),
}
_PLANNED = (
    b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings", b"/v1/responses",
    b"/console", b"/v1/models", b"/invocations", b"/ping", b"/version", b"/health", b"/models",
    b"/v2/models/stats", b"/v2/logging", b"/v2/trace/setting", b"/v2/repository/index",
)  # fmt: skip
_PLANNED_BELOW = (b"/predictions/", b"/v2/repository/", b"/console/")
_SHARED_MEMORY = (b"/v2/cudasharedmemory/", b"/v2/systemsharedmemory/")
_OIP_PLANNED = frozenset(
    ("config", "stats", "generate", "generate_stream", "trace", "load", "unload")
)


def dialect_of(path: bytes) -> Dialect:
    """Whose shape an error on that path has, however malformed the path is."""
    if path == b"/v2" or path.startswith(b"/v2/"):
        return Dialect.OIP
    return Dialect.TFSERVING if path.startswith(b"/v1/models/") else Dialect.PLAIN


def match(path: bytes) -> Route:
    """Understands a raw path.

    Args:
        path: percent-encoded, without the query.

    Raises:
        MaasError: NOT_FOUND for no route, UNIMPLEMENTED for one that is planned,
            INVALID_ARGUMENT for a malformed name or version.
    """
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    if not path.startswith(b"/"):
        raise _no_route(path)
    if path in _PLANNED or path.startswith((*_PLANNED_BELOW, *_SHARED_MEMORY)):
        raise _planned(path)
    if path.startswith(b"/v2/models/"):
        return _match_oip(_segments(path[11:]))
    if path.startswith(b"/v1/models/"):
        return _match_tfserving(_segments(path[11:]))
    segments = _segments(path[1:])
    if len(segments) == 3 and segments[1:] in (["predict", ""], ["classify", ""]):
        raise _trailing_slash()
    if len(segments) == 2 and segments[1] in (Verb.PREDICT, Verb.CLASSIFY):
        return Route(Dialect.PLAIN, Verb(segments[1]), "POST", parse_ref(segments[0]))
    raise _no_route(path)


def _segments(path: bytes) -> list[str]:
    try:
        return [unquote_to_bytes(segment).decode("utf-8") for segment in path.split(b"/")]
    except UnicodeDecodeError:
        raise invalid("the path is not UTF-8; percent-encode names as UTF-8") from None


def _match_oip(segments: list[str]) -> Route:
    """`M[/versions/V][/ready|/infer]`, after the Open Inference Protocol; M may be `name@alias`."""
    ref = parse_ref(segments[0])
    rest = segments[1:]
    if rest[-1:] == [""]:
        raise _trailing_slash()
    if rest[:1] == ["versions"] and len(rest) > 1:
        if ref.alias is not None or ref.version is not None:
            raise invalid(f"{str(ref)!r} and /versions/ both name a version; use one of them")
        ref = ModelRef(ref.name, version=parse_version(rest[1]))
        rest = rest[2:]
    if rest == []:
        return Route(Dialect.OIP, Verb.MODEL_METADATA, "GET", ref)
    if rest == ["ready"]:
        return Route(Dialect.OIP, Verb.MODEL_READY, "GET", ref)
    if rest == ["infer"]:
        return Route(Dialect.OIP, Verb.PREDICT, "POST", ref)
    if len(rest) == 1 and rest[0] in _OIP_PLANNED:
        raise MaasError(
            ErrorKind.UNIMPLEMENTED, f"/{rest[0]} of the Open Inference Protocol is not built yet"
        )
    raise not_found(
        "no such route; expected /v2/models/NAME[/versions/N], with /ready or /infer or nothing"
    )


def _match_tfserving(segments: list[str]) -> Route:
    """`NAME[/versions/N|/labels/L]` with `:predict` or `/metadata` or nothing.

    A malformed route is 400, as in TensorFlow Serving's `http_rest_api_handler.cc`.
    """
    malformed = invalid(
        "malformed request; expected /v1/models/NAME[/versions/N|/labels/L] with :predict, "
        "/metadata or nothing"
    )
    last, colon, verb = segments[-1].rpartition(":")
    if not colon:
        last, verb = segments[-1], ""
    elif not verb:
        raise malformed
    segments = [*segments[:-1], last]
    metadata = not verb and len(segments) in (2, 4) and segments[-1] == "metadata"
    if metadata:
        segments.pop()
    name = check_name(segments[0])
    if len(segments) == 1:
        ref = ModelRef(name)
    elif len(segments) == 3 and segments[1] == "versions":
        ref = ModelRef(name, version=parse_version(segments[2]))
    elif len(segments) == 3 and segments[1] == "labels":
        ref = ModelRef(name, alias=check_name(segments[2], "label"))
    else:
        raise malformed
    if verb == "predict":
        return Route(Dialect.TFSERVING, Verb.PREDICT, "POST", ref)
    if verb in ("classify", "regress", "explain"):
        raise MaasError(ErrorKind.UNIMPLEMENTED, f":{verb} is not built yet; use :predict")
    if verb:
        raise malformed
    return Route(
        Dialect.TFSERVING, Verb.MODEL_METADATA if metadata else Verb.MODEL_STATUS, "GET", ref
    )


def _trailing_slash() -> MaasError:
    return invalid("the path ends in a slash; leave it out")


def _planned(path: bytes) -> MaasError:
    return MaasError(
        ErrorKind.UNIMPLEMENTED, f"{path.decode('latin-1')[:60]} is planned and not built yet"
    )


def _no_route(path: bytes) -> MaasError:
    shown = path.decode("latin-1")[:80]
    return not_found(
        f"no such route: {shown}; models are called at /NAME/predict, /v2/models/NAME/infer or "
        "/v1/models/NAME:predict, and GET / has links"
    )
