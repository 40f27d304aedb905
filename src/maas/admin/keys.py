"""Keys: make, list, revoke; and the ring of those that are valid now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from maas.access import KeyEntry, Keyring, digest, new_key
from maas.admin.deployments import Deployments
from maas.core.records import KeyRecord, KeyRequest, NewKey, Role
from maas.registry import Registry

OWNER_ID = "owner"
"""Id of the owner's own key, which lies in a file or a setting and not in the registry."""


async def create_key(registry: Registry, deployments: Deployments, request: KeyRequest) -> NewKey:
    """Makes a key; it is valid everywhere when this returns. No one can read it again.

    Raises:
        MaasError: INVALID_ARGUMENT for a name that is none.
    """
    key = new_key()
    record = await asyncio.to_thread(registry.create_key, request.name, request.role, key)
    await deployments.keys_changed()
    return NewKey(record, key)


async def list_keys(registry: Registry) -> tuple[KeyRecord, ...]:
    """Every key, revoked ones too, oldest first."""
    return await asyncio.to_thread(registry.keys)


async def revoke_key(registry: Registry, deployments: Deployments, key_id: str) -> KeyRecord:
    """Revokes a key; it opens nothing any more when this returns.

    Raises:
        MaasError: NOT_FOUND.
    """
    record = await asyncio.to_thread(registry.revoke_key, key_id)
    await deployments.keys_changed()
    return record


def make_keyring(active: Iterable[tuple[bytes, KeyRecord]], owner_key: str, number: int) -> Keyring:
    """Makes the ring of all valid keys.

    Args:
        active: digest and record of each key in the registry that is not revoked.
        owner_key: the owner's.
        number: the ring's number; larger than that of the one before.
    """
    owner = KeyEntry(digest(owner_key), OWNER_ID, "owner", Role.OWNER.value)
    others = (
        KeyEntry(hashed, record.id, record.name, record.role.value) for hashed, record in active
    )
    return Keyring(number, (owner, *others))
