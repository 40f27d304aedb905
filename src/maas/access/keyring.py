"""The keyring: every key that is valid now, as control hands it to the ingresses."""

from __future__ import annotations

import msgspec
from msgspec import Struct


class KeyEntry(Struct, frozen=True, array_like=True):
    """One valid key.

    Args:
        digest: SHA-256 of the key, 32 bytes.
        key_id: its public id.
        name: what its maker called it.
        role: one of `maas.core.records.Role`; a text, so that a ring made by a newer server
            still reads (the gate refuses a role it does not know).
    """

    digest: bytes
    key_id: str
    name: str
    role: str


class Keyring(Struct, frozen=True):
    """All valid keys at one moment; replaced whole, never changed.

    Args:
        number: grows with every change; what an ingress acknowledges.
        entries: the keys.
    """

    number: int
    entries: tuple[KeyEntry, ...] = ()

    def encode(self) -> bytes:
        """Writes the ring as msgpack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Keyring:
        """Reads what `encode` wrote.

        Raises:
            msgspec.DecodeError: for anything else.
        """
        return msgspec.msgpack.decode(data, type=cls)
