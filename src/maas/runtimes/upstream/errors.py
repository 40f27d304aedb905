"""What another server's failures become: errors of ours, with its words where they may be shown.

Its words go to our callers, who may know nothing of our network: addresses, URLs and paths in them
are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.wording import one_sentence

LONGEST = 300
HIDDEN = "…"

_HIDE = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://\S+"  # URLs
    r"|\b(?:ipv4|ipv6|unix|dns):\S+"  # gRPC's way to write addresses
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"
    r"|\[?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){3,}\]?(?::\d+)?"
    r"|\b[\w-]+(?:\.[\w-]+)+:\d+\b"  # host:port
    r"|\blocalhost(?::\d+)?"
)

BY_STATUS: Mapping[int, ErrorKind] = MappingProxyType(
    {
        401: ErrorKind.UNAVAILABLE,
        403: ErrorKind.UNAVAILABLE,
        404: ErrorKind.UNAVAILABLE,
        405: ErrorKind.UNAVAILABLE,
        408: ErrorKind.DEADLINE_EXCEEDED,
        413: ErrorKind.TOO_LARGE,
        429: ErrorKind.RESOURCE_EXHAUSTED,
        500: ErrorKind.INTERNAL,
        501: ErrorKind.UNIMPLEMENTED,
        502: ErrorKind.UNAVAILABLE,
        503: ErrorKind.UNAVAILABLE,
        504: ErrorKind.DEADLINE_EXCEEDED,
    }
)
"""HTTP's codes; others from 400 are the call's fault, from 500 the upstream's."""
BY_CODE: Mapping[str, ErrorKind] = MappingProxyType(
    {
        "INVALID_ARGUMENT": ErrorKind.INVALID_ARGUMENT,
        "FAILED_PRECONDITION": ErrorKind.INVALID_ARGUMENT,
        "OUT_OF_RANGE": ErrorKind.INVALID_ARGUMENT,
        "DEADLINE_EXCEEDED": ErrorKind.DEADLINE_EXCEEDED,
        "RESOURCE_EXHAUSTED": ErrorKind.RESOURCE_EXHAUSTED,
        "UNIMPLEMENTED": ErrorKind.UNIMPLEMENTED,
        "UNAUTHENTICATED": ErrorKind.UNAVAILABLE,
        "PERMISSION_DENIED": ErrorKind.UNAVAILABLE,
        "NOT_FOUND": ErrorKind.UNAVAILABLE,
        "UNAVAILABLE": ErrorKind.UNAVAILABLE,
        "CANCELLED": ErrorKind.UNAVAILABLE,
        "ABORTED": ErrorKind.UNAVAILABLE,
    }
)
"""gRPC's codes by name; the others are INTERNAL."""
KEY_REFUSED = frozenset({"401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"})
GONE = frozenset({"404", "NOT_FOUND"})


class UpstreamError(MaasError):
    """An answer of the upstream that is an error.

    Args:
        kind: as this server's callers get it.
        message: one sentence.
        code: HTTP's status or gRPC's code, as text.
    """

    def __init__(self, kind: ErrorKind, message: str, code: str):
        super().__init__(kind, message)
        self.code = code

    @property
    def gone(self) -> bool:
        """Whether it says that there is no such model."""
        return self.code in GONE


def from_status(status: int, words: str) -> UpstreamError:
    """The error for an HTTP answer that is none of 200.

    Args:
        status: of the answer.
        words: its message, or empty.
    """
    if 300 <= status < 400:
        return UpstreamError(
            ErrorKind.UNAVAILABLE,
            "the upstream answered with a redirect, which is not followed; publish the URL that it "
            "leads to",
            str(status),
        )
    kind = BY_STATUS.get(status)
    if kind is None:
        kind = ErrorKind.INVALID_ARGUMENT if 400 <= status < 500 else ErrorKind.INTERNAL
    return _error(kind, str(status), words)


def from_code(code: str, words: str) -> UpstreamError:
    """The error for a gRPC status.

    Args:
        code: its name, such as `NOT_FOUND`.
        words: its message, or empty.
    """
    return _error(BY_CODE.get(code, ErrorKind.INTERNAL), code, words)


def silent(reason: str) -> MaasError:
    """The error for an upstream that could not be reached, with a clause on why."""
    return MaasError(ErrorKind.UNAVAILABLE, f"the upstream does not answer: {reason}")


def nonsense(what: str) -> MaasError:
    """The error for an upstream that answered something that its protocol does not have."""
    return MaasError(ErrorKind.INTERNAL, f"the upstream's answer cannot be used: {shown(what)}")


def shown(words: str) -> str:
    """Another server's words, on one line, without what would tell callers of our network."""
    if not words.strip():
        return ""
    plain = "".join(c if c.isprintable() else " " for c in words[: 4 * LONGEST])
    return one_sentence(_HIDE.sub(HIDDEN, plain), LONGEST)


def _error(kind: ErrorKind, code: str, words: str) -> UpstreamError:
    if code in KEY_REFUSED:
        return UpstreamError(
            kind, "the upstream refuses this server's key (setting upstream.keys)", code
        )
    said = shown(words)
    what = {
        ErrorKind.UNAVAILABLE: "the upstream does not serve the model now",
        ErrorKind.RESOURCE_EXHAUSTED: "the upstream has too much to do",
        ErrorKind.DEADLINE_EXCEEDED: "the upstream took too long",
        ErrorKind.INTERNAL: "the upstream failed on the call",
        ErrorKind.UNIMPLEMENTED: "the upstream does not do this",
    }.get(kind, "the upstream refused the call")
    return UpstreamError(kind, f"{what}: {said}" if said else what, code)
