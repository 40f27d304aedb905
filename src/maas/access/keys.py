"""Keys: 256 random bits that people paste, of which the server keeps only the SHA-256."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "maas_"
"""What every key made here begins with, so that secret scanners can find a leaked one."""


def new_key() -> str:
    """Makes a key: `maas_` and 43 URL-safe characters (256 random bits)."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str | bytes) -> bytes:
    """Returns a key's SHA-256, all 32 bytes.

    A plain hash is enough: the keys made here hold 256 random bits, so there is nothing to guess
    that a slow hash would protect.
    """
    data = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    return hashlib.sha256(data).digest()
