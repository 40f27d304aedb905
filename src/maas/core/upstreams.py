"""The URL of a model that another server serves: `triton+grpc://host:8001/model/versions/3`.

Only what can be read in one way is taken: no user names, no backslashes, no numbers that stand for
an address in any form but the usual one. Which addresses may be called is not decided here.
"""

from __future__ import annotations

import ipaddress
import re
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote, unquote

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid

Protocol = Literal["oip", "tfserving"]

EXPECTED = (
    "expected PROTOCOL+TRANSPORT://HOST[:PORT]/MODEL[/versions/N], such as "
    "triton+grpc://models.example:8001/iris; protocols are oip, triton and tfserving, transports "
    "http, https, grpc and grpcs"
)
LONGEST_URL = 2000
LONGEST_MODEL = 255
MANY_DIGITS = 18
"""Digits of the longest version: they fit into 64 bits."""
PORTS = MappingProxyType(
    {
        ("oip", "http"): 8080,
        ("oip", "grpc"): 8081,
        ("triton", "http"): 8000,
        ("triton", "grpc"): 8001,
        ("tfserving", "http"): 8501,
        ("tfserving", "grpc"): 8500,
    }
)
"""Where those servers listen unless told otherwise; with TLS it is 443."""
TLS_PORT = 443

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)\+([A-Za-z][A-Za-z0-9]*)://(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_PATH = re.compile(r"(?:/v[12]/models)?/([^/?#]+)(?:/versions/([0-9]{1,20}))?/?")


class UpstreamTarget(Struct, frozen=True):
    """Where a model is served, in one form only.

    Args:
        protocol: what is spoken there.
        binary: whether tensors are known to travel as bytes (Triton's do).
        grpc: whether it is gRPC, else REST.
        tls: whether the connection is encrypted.
        host: a name, or an address without brackets.
        port: 1 to 65535.
        model: its name there.
        version: its version there; empty for whatever that server would choose.
        signature: of TensorFlow Serving, the only one wanted; empty for all.
    """

    protocol: Protocol
    binary: bool
    grpc: bool
    tls: bool
    host: str
    port: int
    model: str
    version: str = ""
    signature: str = ""

    @property
    def authority(self) -> str:
        """`host:port`, with brackets where they are needed."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """`http://host:port` or `https://host:port`; the same for REST and gRPC."""
        return f"http{'s' if self.tls else ''}://{self.authority}"

    @property
    def url(self) -> str:
        """The URL again, in full."""
        protocol = "triton" if self.binary else self.protocol
        transport = f"{'grpc' if self.grpc else 'http'}{'s' if self.tls else ''}"
        version = f"/versions/{self.version}" if self.version else ""
        signature = f"#{quote(self.signature, safe='')}" if self.signature else ""
        model = quote(self.model, safe="")
        return f"{protocol}+{transport}://{self.authority}/{model}{version}{signature}"


def looks_like_upstream(text: str) -> bool:
    """Whether a text means a URL rather than a path: it has a scheme."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def parse_upstream(url: str) -> UpstreamTarget:
    """Reads a URL.

    Raises:
        MaasError: INVALID_ARGUMENT for what is no such URL or could be read in two ways,
            UNIMPLEMENTED for one of a language model.
    """
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise invalid(
            "the upstream's URL is too long, or holds spaces or characters beyond ASCII; "
            f"{EXPECTED}"
        )
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise invalid(f"{_shown(url)} is no upstream's URL; {EXPECTED}")
    protocol, transport, rest = match[1].lower(), match[2].lower(), match[3]
    if protocol == "openai":
        raise MaasError(
            ErrorKind.UNIMPLEMENTED,
            "upstreams that speak OpenAI's protocol come with language models, which are not "
            "served yet",
        )
    tls = transport in ("https", "grpcs")
    plain = transport.removesuffix("s") if tls else transport
    if (protocol, plain) not in PORTS:
        raise invalid(f"{protocol}+{transport} is not known; {EXPECTED}")
    authority, slash, path = rest.partition("/")
    host, port = _authority(authority, TLS_PORT if tls else PORTS[protocol, plain])
    before, _, fragment = path.partition("#")
    model, version = _path(slash + before)
    if fragment and protocol != "tfserving":
        raise invalid("only a tfserving URL ends with #SIGNATURE; leave it out")
    signature = unquote(fragment, errors="strict") if _is_quoted_well(fragment) else ""
    if fragment and not (signature and signature.isprintable()):
        raise invalid("the signature after '#' is no name; expected one such as #serving_default")
    return UpstreamTarget(
        "tfserving" if protocol == "tfserving" else "oip",
        protocol == "triton",
        plain == "grpc",
        tls,
        host,
        port,
        model,
        version,
        signature,
    )


def _authority(text: str, default_port: int) -> tuple[str, int]:
    if "@" in text or "\\" in text or "%" in text:
        raise invalid(
            "the upstream's URL holds '@', '\\' or '%' before its path; give the host alone (keys "
            f"are the operator's to set, upstream.keys); {EXPECTED}"
        )
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise invalid(f"the upstream's URL names no host that can be read; {EXPECTED}")
    port = int(match[3]) if match[3] else default_port
    if not 0 < port < 1 << 16:
        raise invalid(f"the upstream's port is {port}; expected 1 to 65535")
    return (_address(match[1]) if match[1] else _host(match[2])), port


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise invalid("the address in brackets is no IPv6 address; check the URL") from None


def _host(text: str) -> str:
    host = text.lower()
    labels = host.split(".")
    # Resolvers read 2130706433, 0x7f000001, 017700000001 and 127.1 as addresses, too.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise invalid(
                f"{host[:60]!r} is neither a host's name nor an address in its usual form; write "
                "an address as four numbers from 0 to 255 without leading zeros"
            ) from None
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise invalid(f"{host[:60]!r} is no host's name; leave out a dot at the end")
    return host


def _path(path: str) -> tuple[str, str]:
    match = _PATH.fullmatch(path)
    if match is None or not _is_quoted_well(match[1]):
        raise invalid(f"the upstream's URL does not name a model; {EXPECTED}")
    model, version = unquote(match[1], errors="strict"), match[2] or ""
    if (
        len(model) > LONGEST_MODEL
        or not model.isprintable()
        or model in (".", "..")
        or "/" in model
        or "\\" in model
    ):
        raise invalid(f"{model[:60]!r} cannot be a model's name on the upstream")
    if version and (len(version) > MANY_DIGITS or version != str(int(version))):
        raise invalid(f"{version[:30]!r} is no version; expected a number such as 3")
    return model, version


def _is_quoted_well(text: str) -> bool:
    """Whether every `%` begins two hexadecimal digits, and they spell UTF-8."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return False
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _shown(url: str) -> str:
    """The part of a URL that can hold no password."""
    return repr(url.partition("://")[0][:40] + "://…") if "://" in url else repr(url[:40])
