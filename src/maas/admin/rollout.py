"""Which version answers: aliases, roll-back, deployment. Each returns once calls follow it."""

from __future__ import annotations

import asyncio

from maas.admin.deployments import Deployments
from maas.admin.live import live_model
from maas.admin.models import get_model
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import ServableId, parse_version
from maas.core.records import DeploymentRequest, ModelRecord
from maas.registry import Registry
from maas.registry.names import alias_name


async def set_alias(
    registry: Registry,
    deployments: Deployments,
    name: str,
    alias: str,
    version: int,
    timeout_s: float,
) -> ModelRecord:
    """Points an alias at a version, as soon as that version is loaded.

    Raises:
        MaasError: NOT_FOUND, INVALID_ARGUMENT, or why the version does not load; then the alias
            stays where it is.
    """
    alias = alias_name(alias)
    record = await asyncio.to_thread(registry.version, name, version)
    await deployments.settled(ServableId(record.name, version), timeout_s)
    await asyncio.to_thread(registry.set_alias, name, alias, version)
    deployments.registry_changed()
    await deployments.applied(timeout_s)
    return await get_model(registry, deployments, name)


async def delete_alias(
    registry: Registry, deployments: Deployments, name: str, alias: str, timeout_s: float
) -> ModelRecord:
    """Removes an alias.

    Raises:
        MaasError: NOT_FOUND.
    """
    record = await asyncio.to_thread(registry.delete_alias, name, alias)
    deployments.registry_changed()
    await deployments.applied(timeout_s)
    return live_model(record, deployments)


async def rollback(
    registry: Registry, deployments: Deployments, name: str, timeout_s: float
) -> ModelRecord:
    """Restores the version that served before; returns when unversioned calls reach it.

    Raises:
        MaasError: NOT_FOUND; FAILED_PRECONDITION where there was none; why it does not load.
    """
    record = await asyncio.to_thread(registry.rollback, name)
    return await _switch(registry, deployments, record, timeout_s)


async def deploy(
    registry: Registry,
    deployments: Deployments,
    name: str,
    request: DeploymentRequest,
    timeout_s: float,
) -> ModelRecord:
    """Sends unversioned calls to a version; returns when they reach it.

    Raises:
        MaasError: NOT_FOUND; INVALID_ARGUMENT for weights that are none; UNIMPLEMENTED for more
            than one version.
    """
    version = _only_version(request)
    record = await asyncio.to_thread(registry.promote, name, version)
    return await _switch(registry, deployments, record, timeout_s)


def _only_version(request: DeploymentRequest) -> int:
    weights = {parse_version(key): weight for key, weight in request.traffic.items()}
    if any(weight < 0 for weight in weights.values()) or sum(weights.values()) != 100:
        raise invalid(
            "the weights of a deployment are percentages that add up to 100, such as "
            '{"traffic": {"3": 100}}'
        )
    versions = [version for version, weight in weights.items() if weight]
    if len(versions) > 1:
        raise MaasError(
            ErrorKind.UNIMPLEMENTED,
            "traffic cannot be divided between versions yet; send 100 to one of them",
        )
    return versions[0]


async def _switch(
    registry: Registry, deployments: Deployments, record: ModelRecord, timeout_s: float
) -> ModelRecord:
    deployments.registry_changed()
    # A promotion and a roll-back leave a default; the registry says which.
    assert record.default_version is not None
    await deployments.switched(record.name, record.default_version, timeout_s)
    return await get_model(registry, deployments, record.name)
