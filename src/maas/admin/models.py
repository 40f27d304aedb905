"""Models and versions: see, describe and delete them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from maas.admin.deployments import Deployments
from maas.admin.live import live_model, live_page, live_version
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.records import ModelRecord, Page, VersionPatch, VersionRecord
from maas.registry import Registry

logger = logging.getLogger("maas.admin")


async def list_models(
    registry: Registry, deployments: Deployments, limit: int, cursor: str | None
) -> Page:
    """A page of models.

    Raises:
        MaasError: INVALID_ARGUMENT for a limit or cursor that is none.
    """
    return live_page(await asyncio.to_thread(registry.models, limit, cursor), deployments)


async def get_model(registry: Registry, deployments: Deployments, name: str) -> ModelRecord:
    """One model.

    Raises:
        MaasError: NOT_FOUND.
    """
    return live_model(await asyncio.to_thread(registry.model, name), deployments)


async def get_version(
    registry: Registry, deployments: Deployments, name: str, version: int
) -> VersionRecord:
    """One version.

    Raises:
        MaasError: NOT_FOUND.
    """
    return live_version(await asyncio.to_thread(registry.version, name, version), deployments)


async def patch_version(
    registry: Registry, deployments: Deployments, name: str, version: int, patch: VersionPatch
) -> VersionRecord:
    """Changes what is said about a version; what it answers never changes.

    Raises:
        MaasError: NOT_FOUND, INVALID_ARGUMENT.
    """
    record = await asyncio.to_thread(registry.patch, name, version, patch)
    deployments.registry_changed()
    return live_version(record, deployments)


async def delete_version(
    registry: Registry, deployments: Deployments, name: str, version: int, timeout_s: float
) -> None:
    """Deletes a version, waits until it is unloaded, and removes its files.

    Args:
        registry: the catalogue.
        deployments: what is loaded.
        name: the model.
        version: the version.
        timeout_s: how long to wait for it to be unloaded. Past that its files stay until the
            next deletion or start.

    Raises:
        MaasError: NOT_FOUND; FAILED_PRECONDITION while an alias names it.
    """
    record = await asyncio.to_thread(registry.version, name, version)
    await asyncio.to_thread(registry.delete_version, name, version)
    await _clear(registry, deployments, [ServableId(record.name, version)], timeout_s)


async def delete_model(
    registry: Registry, deployments: Deployments, name: str, timeout_s: float
) -> None:
    """Deletes a model with all its versions and aliases, as `delete_version` does one.

    Raises:
        MaasError: NOT_FOUND.
    """
    record = await asyncio.to_thread(registry.model, name)
    await asyncio.to_thread(registry.delete_model, name)
    servables = [ServableId(record.name, version.version) for version in record.versions]
    await _clear(registry, deployments, servables, timeout_s)


async def _clear(
    registry: Registry,
    deployments: Deployments,
    servables: Sequence[ServableId],
    timeout_s: float,
) -> None:
    deployments.registry_changed()
    try:
        await deployments.gone(servables, timeout_s)
    except MaasError as error:
        if error.kind is not ErrorKind.DEADLINE_EXCEEDED:
            raise
        logger.warning("files of %s stay for now: %s", servables, error.message)
        return
    await asyncio.to_thread(registry.sweep)
