"""Which server, with which key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from maas.core.errors import invalid

DEFAULT_PORT = "8080"
OWNER_KEY_FILE = "owner.key"


class Address(Struct, frozen=True):
    """A server and the key to it.

    Args:
        url: scheme, host, port and an optional path, without a slash at the end.
        key: empty where there is none.
        loopback: whether it is this machine; then no proxy is ever used.
    """

    url: str
    key: str
    loopback: bool


def find_address(url: str | None, key: str | None, environ: Mapping[str, str]) -> Address:
    """Decides where to call and as whom.

    Args:
        url: as given; None for MAAS_URL, else `http://127.0.0.1:` and MAAS_PORT or 8080.
        key: as given; None for MAAS_API_KEY, else, on a loopback URL, the local owner's key from
            its file in the data folder. An empty string is no key.
        environ: the process's environment.

    Raises:
        MaasError: INVALID_ARGUMENT for a URL that is none, or a key that cannot stand in a header.
    """
    if url is None:
        url = (
            environ.get("MAAS_URL")
            or f"http://127.0.0.1:{environ.get('MAAS_PORT') or DEFAULT_PORT}"
        )
    url = url.rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise invalid(f"{url!r} is not a server's URL; expected one like http://127.0.0.1:8080")
    loopback = is_loopback(host)
    if key is None:
        key = environ.get("MAAS_API_KEY")
    if key is None:
        key = local_owner_key(environ) if loopback else ""
    if not all("!" <= character <= "~" for character in key):
        raise invalid("the key has spaces or characters outside ASCII; check MAAS_API_KEY or --key")
    return Address(url, key, loopback)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own (`127.0.0.0/8`, `::1`, `localhost`)."""
    numbers = host.split(".")
    dotted = len(numbers) == 4 and all(n.isdigit() and n.isascii() for n in numbers)
    return host in ("localhost", "::1") or (dotted and numbers[0] == "127")


def data_folder(environ: Mapping[str, str]) -> Path:
    """The data folder: MAAS_HOME, else `$XDG_DATA_HOME/maas`, else `~/.local/share/maas`."""
    home = environ.get("MAAS_HOME")
    if home:
        return Path(home).expanduser()
    data = environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "maas"


def local_owner_key(environ: Mapping[str, str]) -> str:
    """Reads the owner's key from its 0600 file; empty where this user has none."""
    try:
        return (data_folder(environ) / OWNER_KEY_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
