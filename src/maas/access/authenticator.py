"""From request headers to a principal: on the path of every call, so one pass and one hash."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from maas.access.keyring import Keyring
from maas.access.keys import digest
from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import Principal
from maas.core.records import Role

ANONYMOUS = Principal(key_id="", name="anonymous", role=Role.CALLER.value)
"""Who calls an open data plane without a key."""

NO_KEY = (
    "this server wants a key and the request has none; send it as 'Authorization: Bearer KEY', "
    "'x-api-key: KEY' or 'api-key: KEY'"
)
UNKNOWN_KEY = (
    "the key sent with this request is not valid here, or has been revoked; ask the server's "
    "owner for a new one (maas keys create)"
)

_PREFIX_BYTES = 8
_Buckets = dict[bytes, tuple[tuple[bytes, Principal], ...]]


class Authenticator:
    """Knows the valid keys and says whose a request's key is.

    Keys are found by the first bytes of their digest and then compared over the whole digest in
    constant time. What an attacker can time is a hash, which tells nothing about any key.

    Args:
        keyring: the keys valid now.
        required: whether a request without a valid key is refused; else it is anonymous.
    """

    def __init__(self, keyring: Keyring, required: bool):
        self._required = required
        self._buckets = _index(keyring)

    def replace(self, keyring: Keyring) -> None:
        """Swaps the whole ring: a revoked key is unknown from the next request on."""
        self._buckets = _index(keyring)

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Says who sent a request.

        Where several headers carry a key, the first one that is known counts.

        Args:
            headers: ASGI's raw headers, with lower-case names.

        Raises:
            MaasError: UNAUTHENTICATED, if keys are required and none or an unknown one was sent.
        """
        sent = False
        for name, value in headers:
            if name == b"authorization":
                if value[:7].lower() != b"bearer ":
                    continue
                value = value[7:]
            elif name not in (b"x-api-key", b"api-key"):
                continue
            value = value.strip()
            if value:
                principal = self._find(value)
                if principal is not None:
                    return principal
                sent = True
        if not self._required:
            return ANONYMOUS
        raise MaasError(ErrorKind.UNAUTHENTICATED, UNKNOWN_KEY if sent else NO_KEY)

    def _find(self, key: bytes) -> Principal | None:
        hashed = digest(key)
        for known, principal in self._buckets.get(hashed[:_PREFIX_BYTES], ()):
            if hmac.compare_digest(known, hashed):
                return principal
        return None


def _index(keyring: Keyring) -> _Buckets:
    buckets: _Buckets = {}
    for entry in keyring.entries:
        prefix = entry.digest[:_PREFIX_BYTES]
        principal = Principal(key_id=entry.key_id, name=entry.name, role=entry.role)
        buckets[prefix] = (*buckets.get(prefix, ()), (entry.digest, principal))
    return buckets
