"""`/api/keys`: the owner's alone."""

from __future__ import annotations

from litestar import delete, get, post
from litestar.params import FromPath, RequestBody
from msgspec import Struct

from maas.access import Action
from maas.admin import keys
from maas.core.records import KeyRecord, KeyRequest, NewKey
from maas.wire.api.errors import error_responses
from maas.wire.api.security import ACTION
from maas.wire.api.services import Services

MANAGE = {ACTION: Action.MANAGE_KEYS}
TAGS = ["keys"]


class Keys(Struct, frozen=True):
    """All keys, oldest first; revoked ones too."""

    keys: tuple[KeyRecord, ...]


@post("/keys", opt=MANAGE, tags=TAGS, responses=error_responses(), summary="Make a key")
async def create_key(services: Services, data: RequestBody[KeyRequest]) -> NewKey:
    """Makes a key. This answer is the only place it is ever shown."""
    return await keys.create_key(services.registry, services.deployments, data)


@get("/keys", opt=MANAGE, tags=TAGS, responses=error_responses(), summary="List keys")
async def list_keys(services: Services) -> Keys:
    """Who has keys, never the keys themselves."""
    return Keys(await keys.list_keys(services.registry))


@delete(
    "/keys/{key_id:str}",
    opt=MANAGE,
    tags=TAGS,
    status_code=200,
    responses=error_responses(404),
    summary="Revoke a key",
)
async def revoke_key(services: Services, key_id: FromPath[str]) -> KeyRecord:
    """Revokes a key; it opens nothing any more when this returns."""
    return await keys.revoke_key(services.registry, services.deployments, key_id)


HANDLERS = (create_key, list_keys, revoke_key)
"""The routes of this module."""
