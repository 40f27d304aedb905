"""OpenAI's handlers: chat completions and completions, at once or as events."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from typing import Protocol

from maas import __version__
from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import GenerateRequest
from maas.core.messages import ModelView
from maas.dialects.openai.chat import fit_chat, read_chat
from maas.dialects.openai.chat_answer import ChatAnswer, ChatEvents, ChatShape
from maas.dialects.openai.completion_answer import (
    CompletionAnswer,
    CompletionEvents,
    CompletionShape,
)
from maas.dialects.openai.completions import fit_completion, read_completion
from maas.dialects.openai.errors import ParameterError, encode_error
from maas.dialects.openai.head import Head
from maas.wire.exchange import Exchange
from maas.wire.generation import Generation, Ready
from maas.wire.http import Answer, Header
from maas.wire.openai.names import resolve
from maas.wire.streaming import Events, Streamed

READ_OFF_LOOP = 16 << 10
"""Bytes of a body from which on it is read on a thread: schemas take a microsecond for three."""
TOLD_OFF_LOOP = 4096
"""Probabilities in an answer from which on it is written on a thread."""


class Collected(Protocol):
    """A dialect's way of writing an answer whole."""

    def add(self, ready: Ready) -> None:
        """Takes what has come."""
        ...

    def body(self) -> bytes:
        """The answer."""
        ...


async def chat(exchange: Exchange) -> Answer | Streamed:
    """`POST /v1/chat/completions`."""
    body = (
        await exchange.off_loop(read_chat, exchange.body)
        if len(exchange.body) >= READ_OFF_LOOP
        else read_chat(exchange.body)
    )
    view = resolve(exchange, body.model)
    fitted = fit_chat(body, view)
    head = _head("chatcmpl-", body.model, view)
    shape = ChatShape(
        fitted.request.sampling.logprobs is not None, fitted.parser, body.parallel, _call_id
    )
    requests = (fitted.request,)
    headers = _dropped(fitted.dropped)
    if body.options.stream:
        events = ChatEvents(head, shape, fitted.request.choices, body.options.usage)
        return await _stream(exchange, view, requests, events, headers, "messages")
    answer = ChatAnswer(head, shape, fitted.request.choices)
    return await _whole(exchange, view, requests, answer, headers, "messages")


async def completion(exchange: Exchange) -> Answer | Streamed:
    """`POST /v1/completions`."""
    body = (
        await exchange.off_loop(read_completion, exchange.body)
        if len(exchange.body) >= READ_OFF_LOOP
        else read_completion(exchange.body)
    )
    view = resolve(exchange, body.model)
    requests, dropped = fit_completion(body, view)
    head = _head("cmpl-", body.model, view)
    logprobs = requests[0].sampling.logprobs
    shape = CompletionShape(requests[0].choices, logprobs=logprobs is not None, top=bool(logprobs))
    headers = _dropped(dropped)
    if body.options.stream:
        events = CompletionEvents(head, shape, body.options.usage)
        return await _stream(exchange, view, requests, events, headers, "prompt")
    answer = CompletionAnswer(head, shape, len(requests))
    return await _whole(exchange, view, requests, answer, headers, "prompt")


async def _stream(
    exchange: Exchange,
    view: ModelView,
    requests: Sequence[GenerateRequest],
    events: Events,
    headers: Sequence[Header],
    param: str,
) -> Streamed:
    """Begins an answer of events: errors before the first of them are plain answers."""
    generation = exchange.generate(view, requests)
    first = await _begun(generation, param)
    patience_s = exchange.server.settings.generation.token_s
    request_id = exchange.context.request_id
    return Streamed(generation, first, events, view.servable, request_id, patience_s, headers)


async def _whole(
    exchange: Exchange,
    view: ModelView,
    requests: Sequence[GenerateRequest],
    answer: Collected,
    headers: Sequence[Header],
    param: str,
) -> Answer:
    """Answers once everything has come."""
    generation = exchange.generate(view, requests)
    told = 0
    try:
        ready = await _begun(generation, param)
        while ready:
            answer.add(ready)
            told += _told(ready)
            ready = await generation.next()
    finally:
        await generation.close()
    body = await exchange.off_loop(answer.body) if told >= TOLD_OFF_LOOP else answer.body()
    return Answer(body, servable=view.servable, headers=headers)


async def _begun(generation: Generation, param: str) -> Ready:
    """Waits for the first of it; a prompt that is too long is the fault of its parameter."""
    try:
        return await generation.begin()
    except MaasError as error:
        if error.kind is ErrorKind.CONTEXT_EXCEEDED:
            raise ParameterError(
                param, error.message, code="context_length_exceeded", kind=error.kind
            ) from None
        raise


def _told(ready: Ready) -> int:
    return sum([len(one.logprobs) for _, one in ready if one.logprobs is not None])


def _head(prefix: str, model: str | None, view: ModelView) -> Head:
    """What an answer says of itself; `model` as it was asked for."""
    servable = view.servable
    what = f"{servable} {view.platform} {__version__}"
    fingerprint = f"fp_{hashlib.blake2b(what.encode(), digest_size=5).hexdigest()}"
    identity = prefix + secrets.token_hex(12)
    return Head(identity, int(time.time()), model or servable.name, fingerprint)


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def _dropped(params: Sequence[str]) -> Sequence[Header]:
    return ((b"maas-dropped-params", ", ".join(params).encode("ascii")),) if params else ()


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error in OpenAI's shape; the request id is in the headers."""
    return encode_error(error)
