"""MLflow's and SageMaker's handlers."""

from __future__ import annotations

from functools import partial
from urllib.parse import unquote_to_bytes

from maas import __version__
from maas.core.errors import MaasError, invalid
from maas.core.identity import ModelRef, parse_ref
from maas.core.signature import main_signature
from maas.dialects.media import parse_media
from maas.dialects.mlflow.decode import NPY, check_media, decode_invocation
from maas.dialects.mlflow.encode import encode_error, encode_npy, encode_predictions
from maas.dialects.torchserve.encode import encode_health
from maas.wire.defaults import default_model
from maas.wire.exchange import Exchange, is_large
from maas.wire.http import TEXT, Answer
from maas.wire.query import query_values

PYFUNC = "mlflow"
"""The platform of models that MLflow's own code runs."""
_MODEL_HEADERS = (b"x-model", b"x-amzn-sagemaker-target-model")
_NPY = (b"content-type", NPY.encode("ascii"))


async def invocations(exchange: Exchange) -> Answer:
    """`POST /invocations`."""
    named = content_type = accepted = b""
    for name, value in exchange.headers:
        if name == b"content-type":
            content_type = value
        elif name == b"accept":
            accepted = value
        elif name in _MODEL_HEADERS and (not named or name == _MODEL_HEADERS[0]):
            named = value
    media = parse_media(content_type)
    check_media(media)
    view = exchange.resolve(_model(exchange, named))
    signature = main_signature(view.signatures)
    decode = partial(decode_invocation, keeps_params=view.platform == PYFUNC)
    request = (
        await exchange.off_loop(decode, exchange.body, media, signature)
        if exchange.large
        else decode(exchange.body, media, signature)
    )
    reply = await exchange.infer(view, signature, request.inputs, request.rows)
    as_npy = parse_media(accepted.partition(b",")[0]).kind == NPY
    encode = encode_npy if as_npy else encode_predictions
    # Many rows of several small outputs take long, too: each becomes an object of its own.
    slow = exchange.large or is_large(reply)
    body = await exchange.off_loop(encode, reply) if slow else encode(reply)
    if as_npy:
        return Answer(body, content_type=_NPY, servable=reply.servable)
    return Answer(body, servable=reply.servable)


async def health(exchange: Exchange) -> Answer:
    """`GET /ping`, `/health`: 200 where calls are answered, else 503, as SageMaker reads it."""
    good = exchange.server.ready()
    return Answer(encode_health(good), 200 if good else 503)


async def version(exchange: Exchange) -> Answer:
    """`GET /version`: this server's, as text."""
    return Answer(__version__.encode("ascii"), content_type=TEXT)


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error in MLflow's shape; the request id is in the headers."""
    return encode_error(error)


def _model(exchange: Exchange, named: bytes) -> ModelRef:
    """The model that a header or `?model=` names, else the default one.

    SageMaker's target is an archive's name within its model's folder: `/iris.tar.gz`.
    """
    if not named:
        named = query_values(exchange.query).get(b"model", b"")
    if named:
        try:
            text = unquote_to_bytes(named).decode("utf-8")
        except UnicodeDecodeError:
            raise invalid("the model's name is not UTF-8") from None
        return parse_ref(text.removeprefix("/").removesuffix(".tar.gz"))
    return default_model(
        exchange.server,
        exchange.server.settings.defaults.predict,
        how="with the header X-Model, ?model= or the setting defaults.predict",
    )
