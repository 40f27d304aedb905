"""What runs: the server's processes and what they write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from maas.admin.deployments import Deployments
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import check_name
from maas.core.records import ProcessRecord
from maas.registry import Registry
from maas.telemetry.logfiles import LogLine

MAX_LINES = 10_000
"""Lines of a log that one request may ask for."""


def list_processes(deployments: Deployments) -> tuple[ProcessRecord, ...]:
    """The server's processes."""
    return deployments.processes()


async def read_logs(
    registry: Registry, deployments: Deployments, name: str | None, lines: int, follow: bool
) -> AsyncIterator[LogLine]:
    """The last lines of a log, oldest first, and with `follow` those that come, without end.

    Args:
        registry: the catalogue.
        deployments: whose logs.
        name: a model; None for everything.
        lines: how many of those there are.
        follow: whether to go on.

    Raises:
        MaasError: NOT_FOUND for a model that neither is nor has left a line, as one whose
            publishing failed does; INVALID_ARGUMENT for too many lines.
    """
    if not 0 <= lines <= MAX_LINES:
        raise invalid(f"lines is {lines}; expected 0 to {MAX_LINES}")
    if name is not None:
        try:
            name = (await asyncio.to_thread(registry.model, name)).name
        except MaasError as error:
            name = check_name(name)
            if error.kind is not ErrorKind.NOT_FOUND or not deployments.logs(name, 1):
                raise
    return _lines(deployments, name, lines, follow)


async def _lines(
    deployments: Deployments, name: str | None, lines: int, follow: bool
) -> AsyncIterator[LogLine]:
    coming = deployments.follow_logs(name)
    next_line = asyncio.create_task(_next(coming)) if follow else None
    # Following begins before the past is read: a line may come twice, none is missed.
    await asyncio.sleep(0)
    try:
        for line in deployments.logs(name, lines):
            yield line
        while next_line is not None and (found := await next_line) is not None:
            yield found
            next_line = asyncio.create_task(_next(coming))
    finally:
        if next_line is not None:
            next_line.cancel()


async def _next(coming: AsyncIterator[LogLine]) -> LogLine | None:
    return await anext(coming, None)
