"""TensorFlow Serving's REST handlers."""

from __future__ import annotations

from collections.abc import Callable

from maas.core.errors import MaasError
from maas.core.messages import InferReply
from maas.dialects.tfserving.decode import decode_predict
from maas.dialects.tfserving.encode import (
    encode_classes,
    encode_error,
    encode_predict,
    encode_values,
)
from maas.dialects.tfserving.examplejson import decode_examples
from maas.dialects.tfserving.status import encode_metadata, encode_status
from maas.dialects.tfserving.tasks import Task
from maas.wire.exchange import Exchange, is_large
from maas.wire.http import Answer

EXAMPLES_BYTES = 1 << 10
"""Examples are decoded on a thread from here on: each takes two bytes, and the context's features
are repeated for every one."""


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


async def classify(exchange: Exchange) -> Answer:
    """`POST /v1/models/NAME[/versions/N|/labels/L]:classify`."""
    return await _answer_examples(exchange, "classify", encode_classes)


async def regress(exchange: Exchange) -> Answer:
    """`POST /v1/models/NAME[/versions/N|/labels/L]:regress`."""
    return await _answer_examples(exchange, "regress", encode_values)


async def _answer_examples(
    exchange: Exchange, task: Task, encode: Callable[[InferReply, int], bytes]
) -> Answer:
    view = exchange.resolve()
    request = (
        await exchange.off_loop(decode_examples, exchange.body, view, task)
        if len(exchange.body) >= EXAMPLES_BYTES
        else decode_examples(exchange.body, view, task)
    )
    reply = await exchange.infer(
        view, request.signature, request.inputs, request.rows, request.outputs
    )
    body = (
        await exchange.off_loop(encode, reply, request.examples)
        if is_large(reply)
        else encode(reply, request.examples)
    )
    return Answer(body, servable=reply.servable)


async def status(exchange: Exchange) -> Answer:
    """`GET /v1/models/NAME[/versions/N|/labels/L]`: every version, or the one that is named."""
    ref = exchange.ref
    assert ref is not None
    router, served = exchange.server.router, exchange.server.served
    if ref.version is None and ref.alias is None:
        # OpenAI's clients ask here for a language model by any of its names.
        name = served.find(router.plan, ref.name) or ref.name
        written = served.get(router.plan, ref.name)
        return Answer(encode_status(router.statuses(name), written))
    statuses = router.statuses(ref.name)
    servable = exchange.resolve().servable
    return Answer(encode_status([one for one in statuses if one.servable == servable]))


async def metadata(exchange: Exchange) -> Answer:
    """`GET /v1/models/NAME[/versions/N|/labels/L]/metadata`."""
    view = exchange.resolve()
    return Answer(encode_metadata(view), servable=view.servable)


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error in TensorFlow Serving's shape; the request id is in the headers."""
    return encode_error(error)
