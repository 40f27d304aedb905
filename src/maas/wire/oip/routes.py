"""The Open Inference Protocol's paths: `/v2/…`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maas.core.errors import MaasError, invalid, not_found
from maas.core.identity import ModelRef, check_name, parse_ref, parse_version
from maas.wire.exchange import Handler
from maas.wire.oip import generate, handlers
from maas.wire.routes import Dialect, Family, Route, segments_of, trailing_slash

_MODELS = b"/v2/models/"
_REPOSITORY = b"/v2/repository/models/"
_REGIONS = (b"/v2/systemsharedmemory/", b"/v2/cudasharedmemory/")
_LOGGING = {"GET": handlers.log_settings, "POST": handlers.log_settings}
_TRACING = {"GET": handlers.trace_settings, "POST": handlers.trace_settings}


def _fixed(verb: str, handled: Mapping[str, Handler], *, is_open: bool = False) -> Route:
    return Route(Dialect.OIP, verb, handled, open=is_open)


_FIXED = {
    b"/v2": _fixed("server_metadata", {"GET": handlers.server_metadata}),
    b"/v2/health/live": _fixed("live", {"GET": handlers.live}, is_open=True),
    b"/v2/health/ready": _fixed("ready", {"GET": handlers.ready}, is_open=True),
    b"/v2/models/stats": _fixed("statistics", {"GET": handlers.statistics}),
    b"/v2/repository/index": _fixed("index", {"POST": handlers.index}),
    b"/v2/logging": _fixed("logging", _LOGGING),
    b"/v2/trace/setting": _fixed("tracing", _TRACING),
}


def _match(path: bytes) -> Route:
    """`/v2/models/M[/versions/V][/…]`, where M may be `name@alias`, and what is not of a model."""
    if path.startswith(_REGIONS):
        return _match_region(path)
    if path.startswith(_REPOSITORY):
        return _match_repository(path)
    if not path.startswith(_MODELS):
        raise _no_such_route()
    first, *rest = segments_of(path[len(_MODELS) :])
    ref = parse_ref(first)
    if rest[-1:] == [""]:
        raise trailing_slash()
    versioned = rest[:1] == ["versions"] and len(rest) > 1
    if versioned:
        if ref.alias is not None or ref.version is not None:
            raise invalid(f"{str(ref)!r} and /versions/ both name a version; use one of them")
        ref = ModelRef(ref.name, version=parse_version(rest[1]))
        rest = rest[2:]
    if rest == ["trace", "setting"] and not versioned:
        return Route(Dialect.OIP, "tracing", _TRACING, ref)
    found = _OF_A_MODEL.get("/".join(rest))
    if found is None:
        raise _no_such_route()
    verb, handled = found
    return Route(Dialect.OIP, verb, handled, ref)


_OF_A_MODEL: Mapping[str, tuple[str, Mapping[str, Handler]]] = MappingProxyType(
    {
        "": ("model_metadata", {"GET": handlers.model_metadata}),
        "ready": ("model_ready", {"GET": handlers.model_ready}),
        "infer": ("predict", {"POST": handlers.infer}),
        "config": ("config", {"GET": handlers.config}),
        "stats": ("statistics", {"GET": handlers.statistics}),
        "generate": ("generate", {"POST": generate.generate}),
        "generate_stream": ("generate_stream", {"POST": generate.generate_stream}),
    }
)


def _match_repository(path: bytes) -> Route:
    """`/v2/repository/models/M/load` and `/unload`."""
    segments = segments_of(path[len(_REPOSITORY) :])
    if len(segments) != 2 or segments[1] not in ("load", "unload"):
        raise _no_such_route()
    name, verb = segments
    handler = handlers.load if verb == "load" else handlers.unload
    return Route(Dialect.OIP, verb, {"POST": handler}, ModelRef(check_name(name)))


def _match_region(path: bytes) -> Route:
    """`/v2/systemsharedmemory/…` and `/v2/cudasharedmemory/…`."""
    match segments_of(path)[3:]:
        case ["status"]:
            return _fixed("regions", {"GET": handlers.no_regions})
        case ["unregister"]:
            return _fixed("unregister", {"POST": handlers.unregister_region})
        case ["region", name, "status"] if name:
            return _fixed("region", {"GET": handlers.no_such_region})
        case ["region", name, "register"] if name:
            return _fixed("register", {"POST": handlers.register_region})
        case ["region", name, "unregister"] if name:
            return _fixed("unregister", {"POST": handlers.unregister_region})
    raise _no_such_route()


def _no_such_route() -> MaasError:
    return not_found(
        "no such route; expected /v2/models/NAME[/versions/N], with /ready, /infer, /config, "
        "/stats, /generate, /generate_stream or nothing"
    )


FAMILY = Family(Dialect.OIP, (b"/v2/",), _FIXED, _match, handlers.error_body)
