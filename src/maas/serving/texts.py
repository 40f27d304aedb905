"""Language models in the tensor protocols: texts in, what the model writes to each out.

An engine around an engine, so that the gate and the meter see each answer as what it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec
import numpy as np

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import (
    ChatPrompt,
    Delta,
    Feature,
    GenerateRequest,
    Prompt,
    Sampling,
    TextPrompt,
)
from maas.core.identity import ModelRef
from maas.core.messages import CallContext, GenerateCall, InferCall, InferReply, ModelView
from maas.core.ports import Engine
from maas.core.signature import GENERATE, TEXT

MOST_TEXTS = 64
"""Texts that one call may hold: each takes a place of its own in the model."""


class Texts:
    """An `Engine` around an engine: a prediction of a language model becomes answers of it.

    Args:
        engine: gate and meter included.
        most_tokens: of each answer, since these protocols have no way to say.
    """

    def __init__(self, engine: Engine, most_tokens: int):
        self._engine = engine
        self._most_tokens = most_tokens
        self.resolve = engine.resolve

    def infer(self, call: InferCall) -> Coroutine[Any, Any, InferReply]:
        """Answers one prediction.

        Raises:
            MaasError: INVALID_ARGUMENT for too many texts or one that is not UTF-8, else the
                engine's own.
        """
        if call.signature.method != GENERATE:
            return self._engine.infer(call)
        return self._write(call)

    def generate(self, call: GenerateCall) -> AsyncGenerator[Delta]:
        """Answers a call of a language model.

        Raises:
            MaasError: the engine's own.
        """
        return self._engine.generate(call)

    async def _write(self, call: InferCall) -> InferReply:
        given = call.inputs[TEXT]
        if given.size > MOST_TEXTS:
            raise invalid(f"{given.size} texts in one call; a language model takes {MOST_TEXTS}")
        texts = [_decoded(text) for text in given.ravel().tolist()]
        servable = call.servable
        view = self._engine.resolve(ModelRef(servable.name, servable.version), call.context)
        answers = np.empty(len(texts), object)
        try:
            async with asyncio.timeout(max(call.context.deadline - time.monotonic(), 0.0)):
                tasks: list[asyncio.Task[bytes]] = []
                async with asyncio.TaskGroup() as group:
                    context = call.context
                    for text in texts:
                        tasks.append(group.create_task(self._answer(view, text, context)))
                        # One of them asks whether the caller is still there; all end with it.
                        context = msgspec.structs.replace(context, caller=None)
        except TimeoutError:
            raise MaasError(
                ErrorKind.DEADLINE_EXCEEDED,
                f"{servable} did not finish its answer before the call's deadline",
            ) from None
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        answers[:] = [task.result() for task in tasks]
        return InferReply(servable, call.signature, {TEXT: answers.reshape(given.shape)})

    async def _answer(self, view: ModelView, text: str, context: CallContext) -> bytes:
        spec = view.generative
        prompt: Prompt = TextPrompt(text)
        if spec is not None and Feature.CHAT not in spec.lacks:
            prompt = ChatPrompt(msgspec.json.encode([{"role": "user", "content": text}]))
        request = GenerateRequest(prompt, Sampling(max_tokens=self._most_tokens))
        parts = []
        call = GenerateCall(view.servable, request, context)
        async with aclosing(self._engine.generate(call)) as deltas:
            async for delta in deltas:
                parts.append(delta.text)
        return "".join(parts).encode()


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid("a text is not UTF-8") from None
