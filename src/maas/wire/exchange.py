"""What a handler gets: the request, understood, and what answers it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import msgspec

from maas.core.generation import GenerateRequest
from maas.core.identity import ModelRef
from maas.core.messages import CallContext, GenerateCall, InferCall, InferReply, ModelView
from maas.core.ports import Engine
from maas.core.signature import Signature
from maas.core.tensor import Tensors
from maas.serving.messages import Question, Reply
from maas.serving.router import Router
from maas.settings import Settings
from maas.wire.generation import Generation
from maas.wire.http import Answer, BodyBudget, Header
from maas.wire.served import ServedNames
from maas.wire.streaming import Streamed

LARGE_BYTES = 128 << 10
"""Bodies and answers from here on are decoded and encoded on a thread."""

T = TypeVar("T")
Ask = Callable[[Question, float], Awaitable[Reply]]
"""Asks control, and waits so many seconds for the answer (`maas.serving.follower.Follower.ask`)."""


class Server(Protocol):
    """What handlers use of the data plane."""

    engine: Engine
    router: Router
    settings: Settings
    ready: Callable[[], bool]
    worker: ThreadPoolExecutor
    ask: Ask
    bodies: BodyBudget
    served: ServedNames


class Exchange:
    """One request on its way to its answer.

    Args:
        server: the data plane.
        ref: the model, where the path names one.
        context: who, until when, under which id.
        body: the request's, decompressed.
        headers: the request's, names in lower case.
        query: the raw query string.
        json_length: of the body, as Inference-Header-Content-Length has it; empty where it is not
            there.
    """

    __slots__ = ("body", "context", "headers", "json_length", "large", "query", "ref", "server")

    def __init__(
        self,
        server: Server,
        ref: ModelRef | None,
        context: CallContext,
        body: bytes,
        headers: Sequence[Header],
        query: bytes,
        json_length: bytes = b"",
    ):
        self.server = server
        self.ref = ref
        self.context = context
        self.body = body
        self.headers = headers
        self.query = query
        self.json_length = json_length
        self.large = len(body) >= LARGE_BYTES
        """Whether the body is to be decoded with `off_loop`."""

    def resolve(self, ref: ModelRef | None = None) -> ModelView:
        """The version that the path's reference (or another) means now.

        Raises:
            MaasError: the engine's own.
        """
        wanted = ref or self.ref
        assert wanted is not None
        return self.server.engine.resolve(wanted, self.context)

    async def off_loop(self, work: Callable[..., T], *arguments: object) -> T:
        """Runs a decoder or encoder on the thread that large tensors are worked on."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.server.worker, work, *arguments)

    def infer(
        self,
        view: ModelView,
        signature: Signature,
        inputs: Tensors,
        rows: int,
        outputs: tuple[str, ...] | None = None,
        timeout_s: float | None = None,
        priority: int = 0,
    ) -> Coroutine[Any, Any, InferReply]:
        """Asks the engine.

        Args:
            view: the version.
            signature: which of its signatures.
            inputs: arrays of the signature's dtypes and shapes.
            rows: of a batched signature.
            outputs: names wanted; None for all.
            timeout_s: the caller's own deadline, seconds from now; the server's where it is longer.
            priority: as `CallContext` has it.

        Raises:
            MaasError: the engine's own.
        """
        context = self.context
        if timeout_s is not None:
            deadline = min(context.deadline, time.monotonic() + timeout_s)
            context = msgspec.structs.replace(context, deadline=deadline)
        if priority:
            context = msgspec.structs.replace(context, priority=priority)
        return self.server.engine.infer(
            InferCall(view.servable, signature, inputs, rows, outputs, context)
        )

    def generate(self, view: ModelView, requests: Sequence[GenerateRequest]) -> Generation:
        """Asks a language model; the answer is to be closed.

        Args:
            view: the version.
            requests: what is asked; several make up one answer.

        Raises:
            MaasError: PERMISSION_DENIED; everything else comes where the answer is read.
        """
        first_s = self.server.settings.generation.first_token_s
        context = msgspec.structs.replace(self.context, deadline=time.monotonic() + first_s)
        calls = [
            self.server.engine.generate(GenerateCall(view.servable, request, context))
            for request in requests
        ]
        return Generation(calls, context.request_id)


def is_large(reply: InferReply) -> bool:
    """Whether an answer is to be encoded with `Exchange.off_loop`."""
    for array in reply.outputs.values():  # noqa: SIM110 - `any` costs three times as much here
        if array.nbytes >= LARGE_BYTES:
            return True
    return False


Handler = Callable[[Exchange], Awaitable[Answer | Streamed]]
