"""`/api/imports`: what was found in a folder of models that is watched."""

from __future__ import annotations

from litestar import get
from msgspec import Struct

from maas.access import Action
from maas.core.records import ImportRecord
from maas.wire.api.errors import error_responses
from maas.wire.api.security import ACTION
from maas.wire.api.services import Services


class Imports(Struct, frozen=True):
    """What was found, and what came of it."""

    imports: tuple[ImportRecord, ...]


@get(
    "/imports",
    opt={ACTION: Action.OPERATE},
    tags=["server"],
    responses=error_responses(),
    summary="See imports",
)
async def list_imports(services: Services) -> Imports:
    """Versions found in the watched folder: imported, waiting, or refused and why."""
    return Imports(services.imports())


HANDLERS = (list_imports,)
"""The routes of this module."""
