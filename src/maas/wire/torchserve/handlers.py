"""TorchServe's handlers."""

from __future__ import annotations

from collections.abc import Mapping

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import main_signature
from maas.dialects.media import parse_media
from maas.dialects.torchserve.decode import decode_prediction
from maas.dialects.torchserve.encode import (
    ListedModel,
    encode_description,
    encode_error,
    encode_models,
    encode_prediction,
)
from maas.wire.exchange import Exchange, is_large
from maas.wire.http import Answer
from maas.wire.query import query_values
from maas.wire.status import HTTP_STATUS

PAGE = 100
"""Models of one page of `GET /models`, unless `limit` says fewer or more."""
MAX_PAGE = 1000


async def predictions(exchange: Exchange) -> Answer:
    """`POST /predictions/NAME[/VERSION]`; PUT does the same, as `curl -T` sends it."""
    content_type = next((value for name, value in exchange.headers if name == b"content-type"), b"")
    media = parse_media(content_type)
    view = exchange.resolve()
    signature = main_signature(view.signatures)
    request = (
        await exchange.off_loop(decode_prediction, exchange.body, media, signature)
        if exchange.large
        else decode_prediction(exchange.body, media, signature)
    )
    reply = await exchange.infer(view, signature, request.inputs, request.rows)
    body = (
        await exchange.off_loop(encode_prediction, reply, request)
        if is_large(reply)
        else encode_prediction(reply, request)
    )
    return Answer(body, servable=reply.servable)


async def models(exchange: Exchange) -> Answer:
    """`GET /models?limit=N&next_page_token=T`: those that have a version for calls."""
    query = query_values(exchange.query)
    limit = min(_number(query, b"limit", PAGE), MAX_PAGE)
    start = _number(query, b"next_page_token", 0)
    listed = [
        ListedModel(name, model.default)
        for name, model in sorted(exchange.server.router.plan.models.items())
        if model.default is not None
    ]
    end = start + max(limit, 1)
    return Answer(encode_models(listed[start:end], str(end) if end < len(listed) else None))


async def describe(exchange: Exchange) -> Answer:
    """`GET /models/NAME[/VERSION]`: the versions, or the one that is named."""
    ref = exchange.ref
    assert ref is not None
    statuses = exchange.server.router.statuses(ref.name)
    if ref.version is None and ref.alias is None:
        return Answer(encode_description(statuses))
    servable = exchange.resolve().servable
    return Answer(encode_description([one for one in statuses if one.servable == servable]))


async def not_managed_here(exchange: Exchange) -> Answer:
    """Registering, scaling and removing models, which have other ways here.

    Raises:
        MaasError: UNIMPLEMENTED, always.
    """
    raise MaasError(
        ErrorKind.UNIMPLEMENTED,
        "models are not managed through this path; publish one with `maas publish PATH --name "
        "NAME` or POST /api/models, and remove one with `maas delete NAME`",
    )


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error in TorchServe's shape; the request id is in the headers."""
    return encode_error(error, HTTP_STATUS[error.kind])


def _number(query: Mapping[bytes, bytes], name: bytes, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdigit() or len(text) > 9:
        raise invalid(f"{name.decode('ascii')} must be a number")
    return int(text)
