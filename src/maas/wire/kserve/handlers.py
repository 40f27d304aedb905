"""KServe's V1 handlers."""

from __future__ import annotations

from maas.core.errors import MaasError
from maas.dialects.kserve.encode import encode_model_list
from maas.dialects.tfserving.encode import encode_error
from maas.wire.exchange import Exchange
from maas.wire.http import Answer


async def models(exchange: Exchange) -> Answer:
    """`GET /v1/models`: the models that have a version for calls, for KServe's and OpenAI's."""
    plan = exchange.server.router.plan
    names = sorted(name for name, model in plan.models.items() if model.default is not None)
    return Answer(encode_model_list(names, exchange.server.served.listed(plan)))


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error as `{"error": message}`; the request id is in the headers."""
    return encode_error(error)
