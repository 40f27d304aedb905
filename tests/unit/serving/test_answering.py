"""Calls of language models through router, socket and host; the hosts are processes, and die."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import maas_test_parrot
import numpy as np
import pytest

from maas.access.gate import Gate
from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import (
    Delta,
    Feature,
    GenerateRequest,
    GenerativeSpec,
    Sampling,
    TextPrompt,
    Usage,
)
from maas.core.identity import ServableId
from maas.core.messages import CallContext, GenerateCall, InferCall, Principal
from maas.core.signature import TEXT, text_signature
from maas.core.states import ServableState
from maas.metering.meter import Meter
from maas.serving.messages import FromProcess, Lost, Overdue
from maas.serving.plan import SCHEMA, HostPlan, ModelPlan, Plan, VersionPlan
from maas.serving.router import Router
from maas.serving.texts import Texts
from maas.settings import GenerationSettings, ServingSettings
from maas.telemetry.metrics import Metrics

SIGNATURE = text_signature()
SPEC = GenerativeSpec(100, 50, lacks=(Feature.CHAT,))
SERVABLE = ServableId("m", 1)


class House:
    """An ingress's engine and the host processes it talks to."""

    def __init__(self, run: Path):
        self.run = run
        self.said: list[FromProcess] = []
        self.gone = False
        self.metrics = Metrics()
        self.router = Router(
            ServingSettings(), 1000, 60.0, self.said.append, self.has_gone,
            GenerationSettings(token_s=5),
        )  # fmt: skip
        self.engine = Texts(Gate(Meter(self.router, self.metrics)), 5)
        self.processes: list[subprocess.Popen[str]] = []
        self.number = 0

    async def has_gone(self, caller: object) -> bool:
        return self.gone

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, maas_test_parrot.__file__, str(self.run / "h.sock"), "m:1"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    async def host(self) -> subprocess.Popen[str]:
        process = self.start()
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        return process

    async def follow(self, incarnation: int = 1, spec: GenerativeSpec = SPEC) -> None:
        self.number += 1
        version = VersionPlan(
            ServableState.AVAILABLE, "", "h", "parrot", "parrot", "/m", "m", "parrot",
            {SIGNATURE.name: SIGNATURE}, 0, spec,
        )  # fmt: skip
        hosts = {"h": HostPlan(str(self.run / "h.sock"), incarnation, True, ())}
        models = {"m": ModelPlan({1: version}, 1, {})}
        await self.router.follow(Plan(SCHEMA, "e", self.number, models, hosts), connect_s=0.5)

    async def close(self) -> None:
        await self.router.follow(Plan(SCHEMA, "e", 10_000, {}, {}))
        for process in self.processes:
            process.kill()
            await asyncio.to_thread(process.wait)
            assert process.stdout is not None
            process.stdout.close()
        await asyncio.sleep(0.05)

    def counted(self, name: str, *labels: str) -> float:
        return self.metrics.counter(name, ("m", "1", *labels)).count


@pytest.fixture
async def house(run: Path) -> AsyncIterator[House]:
    found = House(run)
    await found.host()
    await found.follow()
    yield found
    await found.close()


def context(seconds: float = 20.0, role: str = "caller", caller: object = None) -> CallContext:
    principal = Principal("", "ann", role)
    return CallContext("r", principal, time.monotonic() + seconds, "openai", caller=caller)


def call(text: str, seconds: float = 20.0, caller: object = None) -> GenerateCall:
    request = GenerateRequest(TextPrompt(text), Sampling())
    return GenerateCall(SERVABLE, request, context(seconds, caller=caller))


async def written(house: House, text: str, **given: float) -> list[Delta]:
    return [delta async for delta in house.engine.generate(call(text, **given))]


async def error_of(house: House, text: str, **given: float) -> MaasError:
    with pytest.raises(MaasError) as caught:
        await written(house, text, **given)
    return caught.value


async def until_error(house: House, text: str) -> tuple[list[str], MaasError]:
    """What was written before the call failed, and why it did."""
    seen: list[str] = []
    try:
        async for delta in house.engine.generate(call(text)):
            seen.append(delta.text)
    except MaasError as error:
        return seen, error
    raise AssertionError("it did not fail")


async def until_idle(house: House) -> None:
    """Waits until no call is open on the connection to the host."""
    async with asyncio.timeout(5):
        while len(house.router._replicas["h"].streams):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_deltas_come_as_they_are_written_with_the_usage_last(house: House) -> None:
    deltas = await written(house, "one two three")
    assert [delta.text for delta in deltas] == ["one", " two", " three"]
    assert [delta.finish for delta in deltas] == [None, None, "stop"]
    assert deltas[-1].usage == Usage(3, 3, 1)
    assert house.counted("maas_generated_tokens_total", "openai") == 3
    assert house.counted("maas_prompt_tokens_total", "openai") == 3
    assert house.counted("maas_prompt_cached_tokens_total", "openai") == 1
    assert house.counted("maas_calls_total", "openai", "ok") == 1
    assert house.counted("maas_finished_total", "stop") == 1
    labels = ("m", "1", "openai")
    assert sum(house.metrics.histogram("maas_first_token_seconds", labels).buckets) == 1
    assert sum(house.metrics.histogram("maas_inter_token_seconds", labels).buckets) == 2


async def test_many_calls_share_a_host(house: House) -> None:
    texts = [" ".join(f"{n}-{word}" for word in range(n + 1)) for n in range(40)]
    answers = await asyncio.gather(*(written(house, text) for text in texts))
    assert ["".join(delta.text for delta in answer) for answer in answers] == texts


async def test_what_the_model_refuses_is_told(house: House) -> None:
    error = await error_of(house, "refused")
    assert (error.kind, error.message) == (ErrorKind.INVALID_ARGUMENT, "it does not say that")
    assert house.counted("maas_calls_total", "openai", "invalid_argument") == 1


async def test_when_to_come_again_is_told(house: House) -> None:
    error = await error_of(house, "crowded")
    assert (error.kind, error.retry_after_s) == (ErrorKind.RESOURCE_EXHAUSTED, 2.5)
    error = await error_of(house, "one two die")
    assert error.retry_after_s


async def test_a_model_that_takes_no_more_calls_is_looked_for_again(house: House) -> None:
    assert [delta.text for delta in await written(house, "leaving now")] == ["leaving", " now"]


async def test_a_failure_in_mid_answer_comes_after_what_was_written(house: House) -> None:
    seen, error = await until_error(house, "a b broken c")
    assert seen == ["a", " b"]
    assert error.message == "it lost its voice"


async def test_closing_the_outermost_engine_cancels_in_the_host(house: House) -> None:
    async with aclosing(house.engine.generate(call("a stall"))) as deltas:
        assert (await anext(deltas)).text == "a"
        assert len(house.router._replicas["h"].streams) == 1
    await until_idle(house)
    assert house.counted("maas_calls_total", "openai", "cancelled") == 1
    assert [delta.text for delta in await written(house, "still there")] == ["still", " there"]


async def test_cancelling_the_task_that_reads_cancels_the_call(house: House) -> None:
    task = asyncio.create_task(written(house, "a stall"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(house)
    assert house.counted("maas_calls_total", "openai", "cancelled") == 1


async def test_a_caller_who_has_gone_ends_the_call(house: House) -> None:
    house.gone = True
    given = call(" ".join(["word"] * 500), caller="somebody")
    with pytest.raises(MaasError) as caught:
        [delta async for delta in house.engine.generate(given)]
    assert caught.value.kind is ErrorKind.CANCELLED
    await until_idle(house)


async def test_an_answer_that_does_not_begin_is_given_up_at_the_deadline(house: House) -> None:
    error = await error_of(house, "stall", seconds=0.1)
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert "did not begin" in error.message
    await until_idle(house)


async def test_one_that_does_not_go_on_is_too_and_the_host_reported(house: House) -> None:
    error = await error_of(house, "a stall b")
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert "did not go on" in error.message
    assert [type(message) for message in house.said if not isinstance(message, Lost)] == [Overdue]


async def test_a_host_that_dies_before_the_answer_begins_is_followed_by_another(
    house: House,
) -> None:
    house.processes[0].kill()
    waiting = asyncio.create_task(written(house, "one two"))
    await asyncio.to_thread(house.processes[0].wait)
    await house.host()
    await house.follow(2)
    assert [delta.text for delta in await waiting] == ["one", " two"]


async def test_a_call_that_kills_two_hosts_is_not_tried_on_a_third(house: House) -> None:
    deadly = asyncio.create_task(error_of(house, "die"))
    await asyncio.to_thread(house.processes[0].wait)
    house.start()
    await house.follow(2)
    error = await deadly
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "died twice" in error.message


async def test_one_that_dies_in_mid_answer_is_never_begun_anew(house: House) -> None:
    seen, error = await until_error(house, "a b die")
    assert seen == ["a", " b"]
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "ended while it wrote this answer" in error.message


async def test_who_may_not_call_is_refused_at_once(house: House) -> None:
    request = GenerateRequest(TextPrompt("a"), Sampling())
    with pytest.raises(MaasError) as caught:
        house.engine.generate(GenerateCall(SERVABLE, request, context(role="nobody")))
    assert caught.value.kind is ErrorKind.PERMISSION_DENIED


async def test_a_prompt_beyond_a_frame_is_too_large(house: House) -> None:
    error = await error_of(house, "x" * (17 << 20))
    assert error.kind is ErrorKind.TOO_LARGE


async def test_a_version_that_is_not_there_is_said_to_be_none(
    house: House,
) -> None:
    request = GenerateRequest(TextPrompt("a"), Sampling())
    asked = GenerateCall(ServableId("m", 2), request, context(0.2))
    with pytest.raises(MaasError) as caught:
        await anext(house.engine.generate(asked))
    assert caught.value.kind is ErrorKind.NOT_FOUND


async def test_the_tensor_protocols_have_texts_written(house: House) -> None:
    given = np.array([b"one two", "drei vier fünf sechs sieben acht".encode()], object)
    inputs = InferCall(SERVABLE, SIGNATURE, {TEXT: given}, 1, None, context())
    reply = await house.engine.infer(inputs)
    assert reply.outputs[TEXT].tolist() == [
        b"one two",
        "drei vier fünf sechs sieben".encode(),  # five tokens, as the setting says
    ]
    assert house.counted("maas_calls_total", "openai", "ok") == 2


async def test_a_model_with_a_chat_template_is_chatted_with(house: House) -> None:
    await house.follow(spec=GenerativeSpec(100, 50))
    given = np.array([b"hi"], object)
    reply = await house.engine.infer(
        InferCall(SERVABLE, SIGNATURE, {TEXT: given}, 1, None, context())
    )
    assert reply.outputs[TEXT][0].startswith(b"chat: ")


@pytest.mark.parametrize(
    ("texts", "said"), [([b"\xff"], "not UTF-8"), ([b"a"] * 65, "65 texts"), ([b"refused"], "say")]
)
async def test_bad_texts_are_refused(house: House, texts: list[bytes], said: str) -> None:
    inputs = {TEXT: np.array(texts, object)}
    with pytest.raises(MaasError, match=said):
        await house.engine.infer(InferCall(SERVABLE, SIGNATURE, inputs, 1, None, context()))


async def test_texts_that_take_too_long_end_at_the_deadline(house: House) -> None:
    inputs = {TEXT: np.array([b"a", b"stall"], object)}
    with pytest.raises(MaasError) as caught:
        await house.engine.infer(InferCall(SERVABLE, SIGNATURE, inputs, 1, None, context(0.3)))
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
    await until_idle(house)
