"""What grammars have taken: xgrammar keeps every schema that it has compiled, for ever."""

from __future__ import annotations

from hashlib import blake2b

from maas.core.errors import ErrorKind, MaasError

TOKEN_BYTES = 32
"""Memory that a schema takes for each token of the vocabulary: 4 MB with 150,000, as measured."""
WORN_BYTES = 512 << 20
"""From here on the process is to be started anew when nothing is asked of it."""
MOST_BYTES = 2 << 30
"""From here on no further schema is taken."""


class Schemas:
    """Counts the different schemas that one process has compiled.

    Args:
        vocabulary: how many tokens the model has.
    """

    def __init__(self, vocabulary: int):
        self._each = TOKEN_BYTES * vocabulary
        self._known: set[bytes] = set()

    @property
    def worn(self) -> bool:
        """Whether they have taken so much that their process should end when it can."""
        return len(self._known) * self._each > WORN_BYTES

    def add(self, schema: str) -> None:
        """Counts one that is about to be compiled.

        Raises:
            MaasError: RESOURCE_EXHAUSTED for a new one where they have taken too much.
        """
        digest = blake2b(schema.encode(), digest_size=16).digest()
        if digest in self._known:
            return
        if len(self._known) * self._each > MOST_BYTES:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED,
                f"{len(self._known)} different schemas have been asked of this model, and it keeps"
                " each; it takes further ones once it has been idle for a moment",
                retry_after_s=5.0,
            )
        self._known.add(digest)
