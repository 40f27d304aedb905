"""`/api/operations`: publish jobs and their events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from litestar import get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter
from litestar.response import Stream

from maas.access import Action
from maas.admin.operations import Reporter
from maas.core.records import Operation, OperationEvent
from maas.wire.api.errors import error_responses
from maas.wire.api.security import ACTION
from maas.wire.api.services import Services

PUBLISH = {ACTION: Action.PUBLISH}
TAGS = ["operations"]
EVENT_STREAM = "text/event-stream"


@get(
    "/operations/{operation:str}",
    opt=PUBLISH,
    tags=TAGS,
    responses=error_responses(404),
    summary="See a job",
)
async def get_operation(services: Services, operation: FromPath[str]) -> Operation:
    """A publish job with its steps so far, and its version or error once it has ended."""
    return services.jobs.operations.find(operation).snapshot()


@get(
    "/operations/{operation:str}/events",
    opt=PUBLISH,
    tags=TAGS,
    media_type=EVENT_STREAM,
    responses={
        200: ResponseSpec(
            OperationEvent,
            generate_examples=False,
            description="`event: step` with an OperationEvent each, at last `event: done` with "
            "the Operation",
            media_type=EVENT_STREAM,
        ),
        **error_responses(404),
    },
    summary="Follow a job",
)
async def follow_operation(
    services: Services,
    operation: FromPath[str],
    last_event_id: Annotated[
        str | None,
        HeaderParameter(name="Last-Event-ID", description="Steps up to this one are left out."),
    ] = None,
) -> Stream:
    """The steps of a publish job as server-sent events, from the first or from where one was."""
    reporter = services.jobs.operations.find(operation)
    after = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
    return Stream(_events(reporter, after, services.heartbeat_s), media_type=EVENT_STREAM)


async def _events(reporter: Reporter, after: int, heartbeat_s: float) -> AsyncIterator[bytes]:
    """Writes events as https://html.spec.whatwg.org/multipage/server-sent-events.html has them.

    JSON has no raw newline, so each fits in one `data:` line.
    """
    async for event in reporter.follow(after, heartbeat_s):
        if event is None:
            yield b": still running\n\n"
        else:
            data = msgspec.json.encode(event)
            yield b"id: %d\nevent: step\ndata: %b\n\n" % (event.sequence, data)
    yield b"event: done\ndata: %b\n\n" % msgspec.json.encode(reporter.snapshot())


HANDLERS = (get_operation, follow_operation)
"""The routes of this module."""
