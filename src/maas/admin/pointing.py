"""Where a model's unversioned calls and its aliases go, all of it at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from maas.admin.deployments import Deployments
from maas.admin.repository import load_model
from maas.admin.rollout import delete_alias, set_alias
from maas.registry import Registry


async def point(
    registry: Registry,
    deployments: Deployments,
    name: str,
    version: int,
    aliases: Mapping[str, int],
    timeout_s: float,
) -> None:
    """Loads a model, with a version as its default and with these aliases and no others.

    An alias moves as soon as its version is loaded; those that go, go last.

    Args:
        registry: what exists.
        deployments: what is loaded.
        name: the model's.
        version: for unversioned calls.
        aliases: alias → version.
        timeout_s: for all of it.

    Raises:
        MaasError: NOT_FOUND, or why a version does not load; what was done by then stays.
    """
    until = time.monotonic() + timeout_s
    await asyncio.to_thread(registry.promote, name, version)
    await load_model(registry, deployments, name, timeout_s)
    record = await asyncio.to_thread(registry.model, name)
    for alias, number in aliases.items():
        if record.aliases.get(alias) != number:
            await set_alias(registry, deployments, name, alias, number, _left(until))
    for alias in record.aliases:
        if alias not in aliases:
            await delete_alias(registry, deployments, name, alias, _left(until))


def _left(until: float) -> float:
    return max(until - time.monotonic(), 0.0)
