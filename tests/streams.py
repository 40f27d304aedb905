"""Answers as events, many at once, and a language engine whose pace a test sets.

What a caller heard is kept whole: whether it ended with a reason, with `[DONE]`, with an error, or
with nothing at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import httpx
from tests.server import Server

from maas.core.generation import GenerateRequest
from maas.core.ports import Artifact, Device, Generative
from maas.runtimes.language.backend import Piece
from maas.runtimes.language.card import TOKENIZER, read_card
from maas.runtimes.language.engine import LanguageModel
from maas.runtimes.language.openvino import OpenVINOBackend, OpenVINOGenAIRuntime
from maas.runtimes.language.openvino_memory import plan_memory
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.tokens import Vocabulary

TEXT = "/v1/completions"
WAIT_S = 60.0
PACING = "DRILL_PACING"
"""The folder in which `pace` (seconds between steps) and `break` (raise in the next) may lie."""


class Heard:
    """What came of one stream, until now."""

    def __init__(self) -> None:
        self.status = 0
        self.model = ""
        self.text = ""
        self.tokens = 0
        """Events with a choice; nearly always one a token."""
        self.finish: str | None = None
        self.error: dict[str, Any] | None = None
        self.done = False
        self.left = False
        """Whether it was this side that ended it."""
        self.lost = ""
        """How the connection broke, where it did."""
        self.ended = False

    def __repr__(self) -> str:
        return f"<{vars(self)}>"

    @property
    def whole(self) -> bool:
        """Whether it is an answer from beginning to end."""
        return self.done and self.finish is not None and self.error is None and not self.lost

    @property
    def failed(self) -> bool:
        """Whether it said that it is none: an error, and nothing that looks like an end."""
        return self.error is not None and not self.done and self.finish is None

    def take(self, line: str) -> None:
        """Takes a line of the stream."""
        if not line:
            return
        assert line.startswith("data: "), line
        assert not self.done, f"{line} after the end"
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            self.done = True
            return
        event = json.loads(data)
        if "error" in event:
            self.error = event["error"]
            return
        for choice in event["choices"]:
            self.text += choice["text"]
            self.tokens += 1
            self.finish = choice["finish_reason"]


class Caller:
    """Opens streams of completions and listens to them, as tasks of one loop."""

    def __init__(self, server: Server):
        self._url = server.url + TEXT
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(limits=limits, timeout=WAIT_S, trust_env=False)
        self._tasks: list[asyncio.Task[None]] = []

    async def close(self) -> None:
        """Ends what is still open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    def open(self, body: Mapping[str, Any], leave_after: int | None = None) -> Heard:
        """Begins a stream, and leaves after so many events of it."""
        heard = Heard()
        self._tasks.append(asyncio.create_task(self._listen(heard, body, leave_after)))
        return heard

    async def _listen(self, heard: Heard, body: Mapping[str, Any], leave: int | None) -> None:
        content = json.dumps({**body, "stream": True})
        try:
            async with self._client.stream("POST", self._url, content=content) as answer:
                heard.status = answer.status_code
                heard.model = answer.headers.get("maas-model", "")
                if answer.status_code != 200:
                    heard.error = json.loads(await answer.aread())["error"]
                    return
                if leave == 0:
                    heard.left = True
                    return
                async for line in answer.aiter_lines():
                    heard.take(line)
                    if leave is not None and heard.tokens >= leave:
                        heard.left = True
                        return
        except httpx.HTTPError as error:
            heard.lost = repr(error)
        finally:
            heard.ended = True

    async def plain(self, body: Mapping[str, Any]) -> httpx.Response:
        """A call that is answered at once."""
        return await self._client.post(self._url, content=json.dumps(body))

    async def all(self) -> None:
        """Waits for every stream's end."""
        await asyncio.wait_for(asyncio.gather(*self._tasks), 2 * WAIT_S)


@asynccontextmanager
async def calling(server: Server) -> AsyncIterator[Caller]:
    """A caller that leaves nothing open."""
    caller = Caller(server)
    try:
        yield caller
    finally:
        await caller.close()


async def until(true: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> None:
    """Waits for something to become true, while the streams go on."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"{what} did not come within {timeout_s} s"
        await asyncio.sleep(0.01)


async def until_told(true: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> None:
    """The same for what asks the server: on a thread, so that the streams go on meanwhile."""
    end = time.monotonic() + timeout_s
    while not await asyncio.to_thread(true):
        assert time.monotonic() < end, f"{what} did not come within {timeout_s} s"
        await asyncio.sleep(0.05)


def run(drill: Coroutine[Any, Any, None]) -> None:
    """Runs a drill."""
    asyncio.run(asyncio.wait_for(drill, 4 * WAIT_S))


def metric(server: Server, name: str, model: str = "assistant") -> float:
    """The sum of a metric's series of one model."""
    answer = httpx.get(
        f"{server.url}/metrics",
        headers={"authorization": f"Bearer {server.key}"},
        timeout=WAIT_S,
        trust_env=False,
    )
    found = re.findall(rf'^{name}\{{.*model="{model}".*\}} (\S+)$', answer.text, re.MULTILINE)
    return sum(map(float, found))


def is_idle(server: Server, model: str = "assistant") -> bool:
    """Whether nothing runs, nothing waits, and the KV cache is empty."""
    names = ("maas_generations_running", "maas_generations_waiting", "maas_kv_cache_used_ratio")
    return not any(metric(server, name, model) for name in names)


class Pacing:
    """A server's language engine takes as long as a test says, and breaks when it says so.

    It is put in the place of `openvino-genai` as anybody's runtime is: by an entry point.

    Args:
        folder: made here.
    """

    def __init__(self, folder: Path):
        self._folder = folder / "pacing"
        installed = distribution("maas-server")
        name = f"maas_server-{installed.version}.dist-info"
        shown = self._folder / name
        shown.mkdir(parents=True)
        for file in ("METADATA", "entry_points.txt"):
            text = installed.read_text(file)
            assert text is not None
            ours = f"openvino-genai = {__name__}:PacedRuntime"
            (shown / file).write_text(re.sub(r"^openvino-genai = .*", ours, text, flags=re.M))

    @property
    def env(self) -> dict[str, str]:
        """For the server."""
        root = Path(__file__).parents[1]
        return {PACING: str(self._folder), "PYTHONPATH": f"{self._folder}{os.pathsep}{root}"}

    def set(self, seconds: float) -> None:
        """Sets how long each step takes at least."""
        new = self._folder / "pace.new"
        new.write_text(f"{seconds}")
        new.rename(self._folder / "pace")

    def break_it(self) -> None:
        """The next step raises."""
        (self._folder / "break").touch()


class PacedRuntime(OpenVINOGenAIRuntime):
    """OpenVINO GenAI, at a pace."""

    def load(self, artifact: Artifact, device: Device) -> Generative:
        pacing = os.environ.get(PACING)
        if pacing is None:  # the process that publishes has an environment of its own
            return super().load(artifact, device)
        folder, bounds = Path(artifact.path), device.generation
        card = read_card(folder)
        vocabulary = Vocabulary(folder / TOKENIZER, card)
        context = artifact.generative.context_tokens if artifact.generative else card.context_tokens
        plan = plan_memory(artifact, card, bounds, context)
        prompter = Prompter(card, vocabulary, bounds, context)

        def open_backend() -> PacedBackend:
            inner = OpenVINOBackend(artifact.file, card, vocabulary, bounds, plan)
            return PacedBackend(inner, Path(pacing))

        return LanguageModel(open_backend, prompter, vocabulary, card, bounds, context)


class PacedBackend:
    """A backend around another, which waits before each step, or raises in it."""

    def __init__(self, inner: OpenVINOBackend, folder: Path):
        self._inner, self._folder = inner, folder
        self.lacks = inner.lacks
        self.worn = False

    def step(self) -> Sequence[Piece]:
        flag = self._folder / "break"
        if flag.exists():
            flag.unlink()
            raise RuntimeError("a test broke the engine")
        pace = self._folder / "pace"
        if pace.exists():
            time.sleep(float(pace.read_text()))
        return self._inner.step()

    def add(self, key: int, prompt: list[int], request: GenerateRequest, seed: int) -> None:
        self._inner.add(key, prompt, request, seed)

    def cancel(self, key: int) -> None:
        self._inner.cancel(key)

    def kv_used(self) -> float:
        return self._inner.kv_used()

    def close(self) -> None:
        self._inner.close()
