"""The Open Inference Protocol's paths: `/v2/…`."""

from __future__ import annotations

from maas.core.errors import ErrorKind, MaasError, invalid, not_found
from maas.core.identity import ModelRef, parse_ref, parse_version
from maas.wire.oip import handlers
from maas.wire.routes import Dialect, Family, Route, planned, segments_of, trailing_slash

_MODELS = b"/v2/models/"
_FIXED = {
    b"/v2": Route(Dialect.OIP, "server_metadata", {"GET": handlers.server_metadata}),
    b"/v2/health/live": Route(Dialect.OIP, "live", {"GET": handlers.live}, open=True),
    b"/v2/health/ready": Route(Dialect.OIP, "ready", {"GET": handlers.ready}, open=True),
}
_PLANNED = frozenset(
    (b"/v2/models/stats", b"/v2/logging", b"/v2/trace/setting", b"/v2/repository/index")
)
_PLANNED_BELOW = (b"/v2/repository/", b"/v2/cudasharedmemory/", b"/v2/systemsharedmemory/")
_PLANNED_VERBS = frozenset(
    ("config", "stats", "generate", "generate_stream", "trace", "load", "unload")
)


def _match(path: bytes) -> Route:
    """`/v2/models/M[/versions/V][/ready|/infer]`; M may be `name@alias`."""
    if path in _PLANNED or path.startswith(_PLANNED_BELOW):
        raise planned(path)
    if not path.startswith(_MODELS):
        raise _no_such_route()
    first, *rest = segments_of(path[len(_MODELS) :])
    ref = parse_ref(first)
    if rest[-1:] == [""]:
        raise trailing_slash()
    if rest[:1] == ["versions"] and len(rest) > 1:
        if ref.alias is not None or ref.version is not None:
            raise invalid(f"{str(ref)!r} and /versions/ both name a version; use one of them")
        ref = ModelRef(ref.name, version=parse_version(rest[1]))
        rest = rest[2:]
    if rest == []:
        return Route(Dialect.OIP, "model_metadata", {"GET": handlers.model_metadata}, ref)
    if rest == ["ready"]:
        return Route(Dialect.OIP, "model_ready", {"GET": handlers.model_ready}, ref)
    if rest == ["infer"]:
        return Route(Dialect.OIP, "predict", {"POST": handlers.infer}, ref)
    if len(rest) == 1 and rest[0] in _PLANNED_VERBS:
        raise MaasError(
            ErrorKind.UNIMPLEMENTED, f"/{rest[0]} of the Open Inference Protocol is not built yet"
        )
    raise _no_such_route()


def _no_such_route() -> MaasError:
    return not_found(
        "no such route; expected /v2/models/NAME[/versions/N], with /ready or /infer or nothing"
    )


FAMILY = Family(Dialect.OIP, (b"/v2/",), _FIXED, _match, handlers.error_body)
