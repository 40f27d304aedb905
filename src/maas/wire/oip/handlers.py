"""The Open Inference Protocol's handlers, REST and JSON."""

from __future__ import annotations

from maas import __version__
from maas.core.errors import MaasError
from maas.core.states import ServableState
from maas.dialects.oip.decode import decode_infer
from maas.dialects.oip.encode import (
    encode_error,
    encode_infer,
    encode_live,
    encode_model_metadata,
    encode_ready,
    encode_server_metadata,
)
from maas.dialects.oip.request import binary_unimplemented
from maas.wire.exchange import Exchange, is_large
from maas.wire.http import Answer


async def server_metadata(exchange: Exchange) -> Answer:
    """`GET /v2`."""
    return Answer(encode_server_metadata(__version__))


async def live(exchange: Exchange) -> Answer:
    """`GET /v2/health/live`."""
    return Answer(encode_live(True))


async def ready(exchange: Exchange) -> Answer:
    """`GET /v2/health/ready`."""
    good = exchange.server.ready()
    return Answer(encode_ready(good), 200 if good else 503)


async def model_metadata(exchange: Exchange) -> Answer:
    """`GET /v2/models/M[/versions/V]`."""
    view = exchange.resolve()
    statuses = exchange.server.router.statuses(view.servable.name)
    versions = [status.servable.version for status in reversed(statuses)]
    return Answer(encode_model_metadata(view, versions), servable=view.servable)


async def model_ready(exchange: Exchange) -> Answer:
    """`GET /v2/models/M[/versions/V]/ready`: 200 when it answers calls, else 503."""
    view = exchange.resolve()
    statuses = exchange.server.router.statuses(view.servable.name)
    good = any(
        status.servable == view.servable and status.state is ServableState.AVAILABLE
        for status in statuses
    )
    body = encode_ready(good, view.servable.name)
    return Answer(body, 200 if good else 503, servable=view.servable)


async def infer(exchange: Exchange) -> Answer:
    """`POST /v2/models/M[/versions/V]/infer`."""
    view = exchange.resolve()
    request = (
        await exchange.off_loop(decode_infer, exchange.body, view)
        if exchange.large
        else decode_infer(exchange.body, view)
    )
    reply = await exchange.infer(
        view,
        request.signature,
        request.inputs,
        request.rows,
        request.outputs,
        request.timeout_s,
    )
    body = (
        await exchange.off_loop(encode_infer, reply, request)
        if is_large(reply)
        else encode_infer(reply, request)
    )
    return Answer(body, servable=reply.servable)


def binary_tensors() -> MaasError:
    """The error for a body of which Inference-Header-Content-Length says that a part is JSON."""
    return binary_unimplemented("tensors of this request")


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error in the protocol's shape; the request id is in the headers."""
    return encode_error(error)
