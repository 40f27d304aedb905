"""Triton's `/generate` and `/generate_stream`."""

from __future__ import annotations

from collections.abc import Sequence

from maas.core.errors import invalid
from maas.core.messages import ModelView
from maas.dialects.oip.generate import GenerateBody, GenerateWriter, decode_generate
from maas.wire.exchange import Exchange
from maas.wire.http import Answer, Header
from maas.wire.streaming import Streamed


async def generate(exchange: Exchange) -> Answer:
    """`POST /v2/models/M[/versions/V]/generate`: one answer."""
    view, asked = await _understood(exchange, stream=False)
    generation = exchange.generate(view, (asked.request,))
    writer = GenerateWriter(asked, view.servable)
    try:
        while ready := await generation.next():
            writer.add(ready)
    finally:
        await generation.close()
    return Answer(writer.body(), servable=view.servable, headers=_dropped(asked))


async def generate_stream(exchange: Exchange) -> Streamed:
    """`POST /v2/models/M[/versions/V]/generate_stream`: events."""
    view, asked = await _understood(exchange, stream=True)
    generation = exchange.generate(view, (asked.request,))
    return Streamed(
        generation,
        await generation.begin(),
        GenerateWriter(asked, view.servable),
        view.servable,
        exchange.context.request_id,
        exchange.server.settings.generation.token_s,
        _dropped(asked),
    )


async def _understood(exchange: Exchange, *, stream: bool) -> tuple[ModelView, GenerateBody]:
    view = exchange.resolve()
    if view.generative is None:
        raise invalid(f"{view.servable} is no language model; call /infer")
    if exchange.large:
        asked = await exchange.off_loop(lambda: decode_generate(exchange.body, view, stream=stream))
    else:
        asked = decode_generate(exchange.body, view, stream=stream)
    return view, asked


def _dropped(asked: GenerateBody) -> Sequence[Header]:
    params = ", ".join(asked.dropped)
    return ((b"maas-dropped-params", params.encode("ascii")),) if params else ()
