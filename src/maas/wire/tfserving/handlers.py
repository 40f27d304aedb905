"""TensorFlow Serving's REST handlers."""

from __future__ import annotations

from maas.core.errors import MaasError
from maas.dialects.tfserving.decode import decode_predict
from maas.dialects.tfserving.encode import encode_error, encode_predict
from maas.dialects.tfserving.status import encode_metadata, encode_status
from maas.wire.exchange import Exchange, is_large
from maas.wire.http import Answer


async def predict(exchange: Exchange) -> Answer:
    """`POST /v1/models/NAME[/versions/N|/labels/L]:predict`."""
    view = exchange.resolve()
    request = (
        await exchange.off_loop(decode_predict, exchange.body, view)
        if exchange.large
        else decode_predict(exchange.body, view)
    )
    reply = await exchange.infer(view, request.signature, request.inputs, request.rows)
    body = (
        await exchange.off_loop(encode_predict, reply, request)
        if is_large(reply)
        else encode_predict(reply, request)
    )
    return Answer(body, servable=reply.servable)


async def status(exchange: Exchange) -> Answer:
    """`GET /v1/models/NAME[/versions/N|/labels/L]`: every version, or the one that is named."""
    ref = exchange.ref
    assert ref is not None
    statuses = exchange.server.router.statuses(ref.name)
    if ref.version is None and ref.alias is None:
        return Answer(encode_status(statuses))
    servable = exchange.resolve().servable
    return Answer(encode_status([one for one in statuses if one.servable == servable]))


async def metadata(exchange: Exchange) -> Answer:
    """`GET /v1/models/NAME[/versions/N|/labels/L]/metadata`."""
    view = exchange.resolve()
    return Answer(encode_metadata(view), servable=view.servable)


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error in TensorFlow Serving's shape; the request id is in the headers."""
    return encode_error(error)
