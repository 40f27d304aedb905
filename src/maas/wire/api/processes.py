"""`/api`, `/api/processes` and the logs: what runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from litestar import get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from maas.access import Action
from maas.admin import processes
from maas.core.records import ProcessRecord, ServerInfo
from maas.telemetry.logfiles import LogLine
from maas.wire.api.errors import error_responses
from maas.wire.api.security import ACTION
from maas.wire.api.services import ApiServices, Services

OPERATE = {ACTION: Action.OPERATE}
TAGS = ["server"]
NDJSON = "application/x-ndjson"
LOG = {
    200: ResponseSpec(
        LogLine,
        generate_examples=False,
        description="One LogLine to a line, oldest first",
        media_type=NDJSON,
    )
}

Lines = Annotated[int, QueryParameter(description="How many of the last lines, up to 10,000.")]
Follow = Annotated[bool, QueryParameter(description="Go on with the lines that come.")]


class Processes(Struct, frozen=True):
    """The server's processes."""

    processes: tuple[ProcessRecord, ...]


@get(
    "/",
    opt={ACTION: Action.READ},
    tags=TAGS,
    responses=error_responses(),
    summary="See the server",
)
async def get_info(services: Services) -> ServerInfo:
    """What runs, and how to reach it."""
    return services.deployments.info()


@get("/processes", opt=OPERATE, tags=TAGS, responses=error_responses(), summary="List processes")
async def list_processes(services: Services) -> Processes:
    """The server's processes, what they hold and what they cost."""
    return Processes(processes.list_processes(services.deployments))


@get(
    "/logs",
    opt=OPERATE,
    tags=TAGS,
    media_type=NDJSON,
    responses=LOG | error_responses(),
    summary="Read the log",
)
async def read_all_logs(services: Services, lines: Lines = 100, follow: Follow = False) -> Stream:
    """The last lines of every process's log."""
    return await _stream(services, None, lines, follow)


@get(
    "/models/{name:str}/logs",
    opt=OPERATE,
    tags=TAGS,
    media_type=NDJSON,
    responses=LOG | error_responses(404),
    summary="Read a model's log",
)
async def read_model_logs(
    services: Services, name: FromPath[str], lines: Lines = 100, follow: Follow = False
) -> Stream:
    """The last lines that are about one model."""
    return await _stream(services, name, lines, follow)


async def _stream(services: ApiServices, name: str | None, lines: int, follow: bool) -> Stream:
    found = await processes.read_logs(services.registry, services.deployments, name, lines, follow)
    return Stream(_encode(found), media_type=NDJSON)


async def _encode(found: AsyncIterator[LogLine]) -> AsyncIterator[bytes]:
    async for line in found:
        yield msgspec.json.encode(line) + b"\n"


HANDLERS = (get_info, list_processes, read_all_logs, read_model_logs)
"""The routes of this module."""
