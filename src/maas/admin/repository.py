"""Taking a model off the memory and putting it back, while it stays published."""

from __future__ import annotations

import asyncio

from maas.admin.deployments import Deployments
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.registry import Registry


async def load_model(
    registry: Registry, deployments: Deployments, name: str, timeout_s: float
) -> None:
    """Undoes `unload_model`, tries what failed to load again, and waits until calls are answered.

    Raises:
        MaasError: NOT_FOUND; FAILED_PRECONDITION where no version is promoted; why it does not
            load; DEADLINE_EXCEEDED after `timeout_s`, with the load going on.
    """
    record = await asyncio.to_thread(registry.load, name)
    deployments.retry(record.name)
    deployments.registry_changed()
    if record.default_version is None:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"no version of {record.name} is promoted, so that there is none to load; promote one",
        )
    await deployments.switched(record.name, record.default_version, timeout_s)


async def unload_model(
    registry: Registry, deployments: Deployments, name: str, timeout_s: float
) -> None:
    """Takes every version of a model off the memory; that outlives a restart of the server.

    Its calls are refused from now on, and those under way are answered.

    Raises:
        MaasError: NOT_FOUND; DEADLINE_EXCEEDED after `timeout_s`, with the unloading going on.
    """
    record = await asyncio.to_thread(registry.unload, name)
    try:
        await deployments.gone(
            [ServableId(record.name, version.version) for version in record.versions], timeout_s
        )
        await deployments.applied(timeout_s)
    except MaasError as error:
        if error.kind is not ErrorKind.DEADLINE_EXCEEDED:
            raise
        raise MaasError(
            error.kind,
            f"{record.name} takes no more calls and was still being unloaded after {timeout_s:g} s",
        ) from error
