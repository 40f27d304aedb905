"""The plain calls' handlers, the probes and the index."""

from __future__ import annotations

import msgspec

from maas import __version__
from maas.core.errors import MaasError
from maas.core.identity import ModelRef, parse_ref
from maas.core.messages import ModelView
from maas.core.signature import main_signature
from maas.dialects.plain.decode import PlainDocument, PlainRequest, decode, parse
from maas.dialects.plain.encode import encode, encode_error
from maas.wire.defaults import default_model
from maas.wire.exchange import Exchange, is_large
from maas.wire.http import Answer


async def index(exchange: Exchange) -> Answer:
    """`GET /`: what this is, with links."""
    models = exchange.server.router.plan.models
    links = {
        "predict": "/NAME/predict",
        "open_inference_protocol": "/v2/models/NAME",
        "tensorflow_serving": "/v1/models/NAME",
        "openai": "/v1/chat/completions",
        "control_api": "/api",
        "documentation": "/docs",
        "metrics": "/metrics",
        "health": ["/livez", "/readyz"],
    }
    body = {"name": "maas", "version": __version__, "models": len(models), "links": links}
    return Answer(msgspec.json.encode(body))


async def live(exchange: Exchange) -> Answer:
    """`GET /livez`: the process answers."""
    return Answer(b'{"live":true}')


async def ready(exchange: Exchange) -> Answer:
    """`GET /readyz`, `/healthz`: an acknowledged plan is in force."""
    good = exchange.server.ready()
    return Answer(b'{"ready":true}' if good else b'{"ready":false}', 200 if good else 503)


async def predict(exchange: Exchange) -> Answer:
    """`POST /NAME/predict`, `POST /predict`."""
    return await _answer(exchange, classify=False)


async def classify(exchange: Exchange) -> Answer:
    """`POST /classify`, `POST /NAME/classify`: the answer always has `prediction`, the labels."""
    return await _answer(exchange, classify=True)


async def _answer(exchange: Exchange, *, classify: bool) -> Answer:
    view, request = (
        await exchange.off_loop(_understood, exchange, classify)
        if exchange.large
        else _understood(exchange, classify)
    )
    reply = await exchange.infer(
        view, main_signature(view.signatures), request.inputs, request.rows
    )
    body = (
        await exchange.off_loop(lambda: encode(reply, request, classify=classify))
        if is_large(reply)
        else encode(reply, request, classify=classify)
    )
    return Answer(body, servable=reply.servable)


def _understood(exchange: Exchange, classify: bool) -> tuple[ModelView, PlainRequest]:
    """Says which version is asked, and what.

    For a large body this runs on the decoding thread, where it only reads: the plan it resolves
    against is replaced whole.
    """
    document = parse(exchange.body)
    ref = exchange.ref or _chosen(exchange, document, classify)
    view = exchange.resolve(ref)
    return view, decode(document, main_signature(view.signatures))


def _chosen(exchange: Exchange, document: PlainDocument, classify: bool) -> ModelRef:
    """The model of a call whose path names none: its body's, the setting's, or the only one."""
    if document.model is not None:
        return parse_ref(document.model)
    defaults = exchange.server.settings.defaults
    default = defaults.classify if classify else defaults.predict
    return default_model(
        exchange.server,
        default,
        texts=document.texts,
        writes=False if classify else document.writes or None,
    )


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error in the plain shape."""
    return encode_error(error, request_id)
