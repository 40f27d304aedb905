"""A data plane whose engine writes what it is told to, and a client that reads as it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from maas_test_plane import IRIS, Doubler, Server, version
from msgspec.structs import replace

from maas.core.generation import (
    Delta,
    Feature,
    GenerativeSpec,
    TextPrompt,
    TokenLogprob,
    Usage,
)
from maas.core.messages import GenerateCall
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.serving.plan import EMPTY, SCHEMA, ModelPlan, Plan, VersionPlan
from maas.serving.router import Router
from maas.settings import DefaultSettings, GenerationSettings, Settings

TEXT = (TensorSpec("text", DType.BYTES, (None,)),)
WRITES = Signature("serving_default", TEXT, TEXT, batched=False, method="generate")
SPEC = GenerativeSpec(
    context_tokens=64,
    vocabulary=1000,
    tool_format="hermes",
    lacks=(Feature.LOGIT_BIAS, Feature.TOP_LOGPROBS, Feature.MIN_P),
    served_names=("gpt-4o-mini", "meta/llama"),
)


def writer(spec: GenerativeSpec) -> VersionPlan:
    """A version that is a language model."""
    made = version(WRITES)
    return replace(made, generative=spec, platform="test_engine")


def plan_of(**specs: GenerativeSpec | None) -> Plan:
    """A plan with these models."""
    models = {
        name: ModelPlan({1: version(IRIS) if spec is None else writer(spec)}, 1, {"prod": 1})
        for name, spec in specs.items()
    }
    return Plan(SCHEMA, "epoch", len(models), models, {})


PLAN = plan_of(
    assistant=SPEC,
    easy=replace(SPEC, drop_params=True, served_names=("simple",)),
    base=replace(SPEC, tool_format="", lacks=(Feature.CHAT, Feature.TOOLS), served_names=()),
    iris=None,
)


class Author(Doubler):
    """Writes `tokens` for every choice, one choice after another, unless a test says otherwise."""

    def __init__(self, router: Router):
        super().__init__(router)
        self.asked: list[GenerateCall] = []
        self.tokens: list[str] = ["Hel", "lo", " 你", "好"]
        self.before: dict[int, Exception | asyncio.Event] = {}
        """What happens before a token."""
        self.running = 0

    async def generate(self, call: GenerateCall) -> AsyncGenerator[Delta]:
        self.asked.append(call)
        self.running += 1
        try:
            async for delta in self._written(call):
                yield delta
        finally:
            self.running -= 1

    async def _written(self, call: GenerateCall) -> AsyncGenerator[Delta]:
        request = call.request
        tokens = self.tokens[: request.sampling.max_tokens]
        cut = len(tokens) < len(self.tokens)
        for index in range(request.choices):
            if request.echo:
                assert isinstance(request.prompt, TextPrompt)
                told = self._told(request.prompt.text, call, None)
                yield Delta(index, request.prompt.text, 0, told)
        usage = Usage(5, len(tokens) * request.choices, 2)
        for at, token in enumerate(tokens):
            what = self.before.get(at)
            if isinstance(what, Exception):
                raise what
            if what is not None:
                await what.wait()
            last = at == len(tokens) - 1
            for index in range(request.choices):
                yield Delta(
                    index,
                    token,
                    1,
                    self._told(token, call, -0.5),
                    ("length" if cut else "stop") if last else None,
                    usage if last and index == request.choices - 1 else None,
                )

    def _told(
        self, token: str, call: GenerateCall, logprob: float | None
    ) -> tuple[TokenLogprob, ...] | None:
        if call.request.sampling.logprobs is None:
            return None
        top = ((token.encode(), -0.5), (b"\xe4\xbd", float("-inf")))
        return (TokenLogprob(token.encode(), logprob, top[: call.request.sampling.logprobs]),)


class Reply:
    """An answer, while it comes."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.sends: list[bytes] = []
        self.gone = asyncio.Event()
        """Set by a test whose client goes away."""
        self.stalled: asyncio.Event | None = None
        """A client that takes nothing before it is set."""
        self.ended = False
        self.task: asyncio.Task[None] | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.sends)

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def data(self) -> list[str]:
        """What the events hold."""
        assert self.headers["content-type"].startswith("text/event-stream")
        *events, last = self.body.decode().split("\n\n")
        assert last == ""
        assert all(event.startswith("data: ") and "\n" not in event for event in events)
        return [event[6:] for event in events]

    @property
    def chunks(self) -> list[Any]:
        """The chunks of a stream that came to its end."""
        *chunks, done = self.data
        assert done == "[DONE]"
        return [json.loads(chunk) for chunk in chunks]

    async def until(self, true: Any) -> None:
        """Waits until something is true of it."""
        while not true():  # noqa: ASYNC110 - what it waits for sets no event
            await asyncio.sleep(0)


class Talker(Server):
    """A data plane with language models, and a client for it.

    Args:
        envoy: whether the front is as Envoy's is, else as uvicorn's.
    """

    def __init__(
        self,
        *,
        envoy: bool = True,
        required: bool = False,
        chat: str = "",
        **generation: float,
    ):
        super().__init__(required=required)
        self.author = Author(self.router)
        self.plane.engine = self.author
        self.plane.settings = Settings(
            generation=GenerationSettings(**generation), defaults=DefaultSettings(chat=chat)
        )
        self.envoy = envoy

    def begin(self, path: str, body: object, method: str = "POST", **headers: str) -> Reply:
        """Sends a request; the answer comes beside."""
        reply = Reply()
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        first = [{"type": "http.request", "body": sent, "more_body": False}]
        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "path": path,
            "query_string": b"",
            "headers": [
                (name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()
            ],
        }
        loop = asyncio.get_running_loop()

        async def receive() -> Mapping[str, Any]:
            if first:
                return first.pop()
            if not self.envoy:
                await reply.gone.wait()
            if reply.gone.is_set():
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": b"", "more_body": False}

        def take(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                found = [(n.decode(), v.decode()) for n, v in message["headers"]]
                reply.headers = dict(found)
                assert len(found) == len(reply.headers)
            else:
                reply.sends.append(message["body"])
                reply.ended = not message.get("more_body", False)

        async def as_uvicorn(message: Mapping[str, Any]) -> None:
            if reply.stalled is not None and message["type"] == "http.response.body":
                await reply.stalled.wait()
            if not reply.gone.is_set():
                take(message)

        def as_envoy(message: Mapping[str, Any]) -> Any:
            if not message.get("more_body"):
                take(message)
                return asyncio.sleep(0)
            sending = loop.create_future()

            async def process() -> None:
                if reply.stalled is not None:
                    await reply.stalled.wait()
                if reply.gone.is_set():
                    sending.set_exception(OSError())
                else:
                    take(message)
                    sending.set_result(None)

            reply.processing = loop.create_task(process())  # type: ignore[attr-defined]
            return sending

        send = as_envoy if self.envoy else as_uvicorn
        reply.task = loop.create_task(self.plane(scope, receive, send))  # type: ignore[arg-type]
        return reply

    async def say(self, path: str, body: object, method: str = "POST", **headers: str) -> Reply:
        """Sends a request and waits for the whole answer."""
        reply = self.begin(path, body, method, **headers)
        assert reply.task is not None
        await reply.task
        return reply


async def opened(talker: Talker) -> AsyncIterator[Talker]:
    await talker.router.follow(PLAN)
    yield talker
    assert talker.author.running == 0
    talker.plane.worker.shutdown()
    await talker.router.follow(EMPTY)
