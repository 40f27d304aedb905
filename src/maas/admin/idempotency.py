"""Idempotency keys: the same request sent twice starts one job.

After draft-ietf-httpapi-idempotency-key-header: a key stands for one request of one principal; a
repetition gets the first one's operation, a different request under the same key is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid

KEPT = 1000
KEPT_S = 24 * 3600.0
MAX_LENGTH = 255


class _Claim(Struct):
    request: str
    claimed_at: float
    operation_id: str


class IdempotencyKeys:
    """Which keys were used, for which request and with what operation.

    Args:
        clock: monotonic seconds.
        kept: most keys remembered; the oldest goes first.
        kept_s: how long one is remembered.
    """

    def __init__(self, clock: Callable[[], float], kept: int = KEPT, kept_s: float = KEPT_S):
        self._clock = clock
        self._kept = kept
        self._kept_s = kept_s
        self._claims: OrderedDict[tuple[str, str], _Claim] = OrderedDict()

    def claim(self, owner: str, key: str, request: str) -> str | None:
        """Takes a key for a request that begins now.

        Args:
            owner: id of the principal's key; each has its own idempotency keys.
            key: what the client sent.
            request: what tells one request from another.

        Returns:
            The operation the key already stands for; None where the caller should go on, and
            then `bind` or `release` it.

        Raises:
            MaasError: ALREADY_EXISTS, if the key stands for another request, or for this one
                and its upload is still arriving; INVALID_ARGUMENT for a key that is none.
        """
        if not 0 < len(key) <= MAX_LENGTH or not key.isprintable():
            raise invalid(f"an Idempotency-Key has 1 to {MAX_LENGTH} printable characters")
        now = self._clock()
        self._expire(now)
        found = self._claims.get((owner, key))
        if found is None:
            self._claims[owner, key] = _Claim(request, now, "")
            return None
        if found.request != request:
            raise MaasError(
                ErrorKind.ALREADY_EXISTS,
                "this Idempotency-Key was used for another request; use a new one for each",
            )
        if not found.operation_id:
            raise MaasError(
                ErrorKind.ALREADY_EXISTS,
                "a request with this Idempotency-Key is still being received; wait for its answer",
            )
        return found.operation_id

    def bind(self, owner: str, key: str, operation_id: str) -> None:
        """Notes the operation that a claimed key started."""
        claim = self._claims.get((owner, key))
        if claim is not None:
            claim.operation_id = operation_id

    def release(self, owner: str, key: str) -> None:
        """Gives a claimed key back: its request started nothing, or is forgotten."""
        self._claims.pop((owner, key), None)

    def _expire(self, now: float) -> None:
        while self._claims:
            oldest = next(iter(self._claims.values()))
            if len(self._claims) < self._kept and now - oldest.claimed_at < self._kept_s:
                return
            self._claims.popitem(last=False)
