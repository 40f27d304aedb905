"""Who may reach the control API through a browser: Host and Origin of a request, judged.

A web page cannot read another site's answers, but it can send requests to 127.0.0.1 (the
"0.0.0.0 day") or have its own name point there (DNS rebinding). So the Host must be a name this
server is known by, and an Origin must be the server's own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from maas.core.errors import ErrorKind, MaasError, invalid

ANY_HOST = "*"
"""In the allowed hosts: every name will do (a server behind a proxy that checks them itself)."""

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


def check_host(hosts: list[bytes], allowed: Collection[str]) -> str:
    """Returns the request's Host if this server goes by it.

    Args:
        hosts: values of all its Host headers.
        allowed: further names than loopback's own; without port, lower-case.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if len(hosts) != 1:
        raise invalid(f"the request has {len(hosts)} Host headers; send one")
    host = hosts[0].decode("latin-1")
    name = _split(host)
    if name is None:
        raise invalid("the request's Host header is no host name; send the server's own")
    if not (ANY_HOST in allowed or _is_loopback(name[0]) or name[0] in allowed):
        raise invalid(
            f"this server does not go by the name {host[:80]!r}; use the address it listens on"
        )
    return host


def check_origin(origins: list[bytes], host: str) -> None:
    """Lets a request pass that comes from no web page, or from one of this server's own.

    Args:
        origins: values of all its Origin headers.
        host: what `check_host` returned.

    Raises:
        MaasError: PERMISSION_DENIED.
    """
    for value in origins:
        try:
            origin = urlsplit(value.decode("latin-1"))
        except ValueError:
            origin = urlsplit("")
        port = _PORTS.get(origin.scheme)
        theirs = _split(origin.netloc)
        ours = _split(host)
        if (
            port is None
            or theirs is None
            or ours is None
            or theirs[0] != ours[0]
            or (theirs[1] or port) != (ours[1] or port)
        ):
            raise MaasError(
                ErrorKind.PERMISSION_DENIED,
                "a web page of another origin may not use this server's control API",
            )


def _split(authority: str) -> tuple[str, int | None] | None:
    matched = _AUTHORITY.fullmatch(authority)
    if matched is None:
        return None
    port = matched[2]
    return matched[1].lower(), int(port) if port else None


def _is_loopback(host: str) -> bool:
    """Whether a Host names this machine.

    An address is parsed: `127.evil.example` begins like one, and anybody may own it.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
