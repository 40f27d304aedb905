"""Keys at rest: their SHA-256 alone, never the key."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from maas.core.errors import ErrorKind, MaasError, invalid, not_found
from maas.core.records import KeyRecord, Role
from maas.model.types import rfc3339
from maas.registry.names import listing
from maas.registry.tables import KeyRow

MAX_KEY_NAME = 128
"""Characters of a key's name."""


def key_digest(key: str) -> bytes:
    """SHA-256 of a key, 32 bytes: what is stored and compared.

    No salt and no slow hash: a key is random and long, so there is nothing to guess.
    """
    return hashlib.sha256(key.encode()).digest()


def create_key(session: Session, name: str, role: Role, key: str, now: datetime) -> KeyRecord:
    """Adds a key.

    Raises:
        MaasError: INVALID_ARGUMENT for an empty key or a name that is empty, above 128
            characters or not printable; ALREADY_EXISTS where this very key is known.
    """
    if not name.strip() or len(name) > MAX_KEY_NAME or not name.isprintable():
        raise invalid(
            f"{name[:40]!r} is not a key's name: use 1 to {MAX_KEY_NAME} printable characters"
        )
    if not key:
        raise invalid("a key cannot be empty")
    digest = key_digest(key).hex()
    known = session.scalar(select(KeyRow).where(KeyRow.digest == digest))
    if known is not None:
        raise MaasError(
            ErrorKind.ALREADY_EXISTS, f"this key exists already, as {known.id}; make a new one"
        )
    key_id = _fresh_id(session)
    row = KeyRow(id=key_id, name=name, role=str(role), digest=digest, created_at=now)
    session.add(row)
    return _record(row)


def list_keys(session: Session) -> tuple[KeyRecord, ...]:
    """Every key, revoked ones too, oldest first."""
    rows = session.scalars(select(KeyRow).order_by(KeyRow.created_at, KeyRow.id))
    return tuple(_record(row) for row in rows)


def revoke_key(session: Session, key_id: str, now: datetime) -> KeyRecord:
    """Revokes a key; one that is revoked already stays as it is.

    Raises:
        MaasError: NOT_FOUND, naming the keys there are.
    """
    row = session.get(KeyRow, key_id) if key_id.isascii() else None
    if row is None:
        ids = session.scalars(select(KeyRow.id).order_by(KeyRow.created_at, KeyRow.id)).all()
        there_are = f"there are {listing(ids)}" if ids else "there are none"
        raise not_found(f"there is no key {key_id[:40]!r}; {there_are}")
    if row.revoked_at is None:
        row.revoked_at = now
    return _record(row)


def active_keys(session: Session) -> tuple[tuple[bytes, KeyRecord], ...]:
    """Every key that is not revoked, each with its digest, 32 bytes."""
    rows = session.scalars(
        select(KeyRow).where(KeyRow.revoked_at.is_(None)).order_by(KeyRow.created_at, KeyRow.id)
    )
    return tuple((bytes.fromhex(row.digest), _record(row)) for row in rows)


def _fresh_id(session: Session) -> str:
    while True:
        key_id = f"key_{secrets.token_hex(4)}"
        if session.get(KeyRow, key_id) is None:
            return key_id


def _record(row: KeyRow) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=rfc3339(row.created_at),
        revoked_at=None if row.revoked_at is None else rfc3339(row.revoked_at),
    )
