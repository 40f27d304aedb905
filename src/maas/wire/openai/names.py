"""Which language model a body's `model` means: a name, or a name that it is served under."""

from __future__ import annotations

from urllib.parse import quote

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef, parse_ref
from maas.core.messages import ModelView
from maas.dialects.openai.errors import ParameterError
from maas.wire.exchange import Exchange

LISTED = 8
"""Most candidates that an error names."""


def resolve(exchange: Exchange, model: str | None) -> ModelView:
    """The language model that a body means.

    Args:
        exchange: whose body it is.
        model: what its `model` says; None where it says nothing.

    Raises:
        MaasError: NOT_FOUND with the code `model_not_found`, INVALID_ARGUMENT for a model that is
            no language model, or where several may be meant; the engine's own.
    """
    ref = _default(exchange) if model is None else _named(exchange, model)
    try:
        view = exchange.resolve(ref)
    except MaasError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            raise _not_found(error.message) from None
        raise
    if view.generative is None:
        name = quote(view.servable.name)
        raise ParameterError(
            "model",
            f"{view.servable} is no language model; it is called at /{name}/predict or "
            f"/v2/models/{name}/infer",
        )
    return view


def _named(exchange: Exchange, model: str) -> ModelRef:
    plan = exchange.server.router.plan
    if model in plan.models:
        return ModelRef(model)
    served = exchange.server.served.find(plan, model)
    if served is not None:
        return ModelRef(served)
    try:
        return parse_ref(model)
    except MaasError:
        raise _not_found(f"there is no model {model!r}; GET /v1/models lists them") from None


def _default(exchange: Exchange) -> ModelRef:
    configured = exchange.server.settings.defaults.chat
    if configured:
        return _named(exchange, configured)
    models = exchange.server.served.models(exchange.server.router.plan)
    if len(models) == 1:
        return ModelRef(models[0])
    if not models:
        raise ParameterError("model", "no language model serves here")
    names = ", ".join(models[:LISTED])
    raise ParameterError(
        "model", f'several language models serve here; say which with "model": {names}'
    )


def _not_found(message: str) -> ParameterError:
    return ParameterError("model", message, code="model_not_found", kind=ErrorKind.NOT_FOUND)
