"""Language models when callers leave, processes die, versions change and too many ask at once.

Where a test needs answers to last, the engine is OpenVINO GenAI at a pace that the test sets.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.answers import check_sentence, openai_error
from tests.language import tiny_gguf
from tests.load import Load
from tests.server import Server, wait_until
from tests.streams import (
    TEXT,
    Caller,
    Heard,
    Pacing,
    calling,
    is_idle,
    metric,
    run,
    until,
    until_told,
)

MIB = 1 << 20
COUNT = {"input_data": [[1, 2, 3]]}
PROMPTS = (
    "a",
    "Hello",
    "one two",
    "你好",
    "x = [1, 2",
    "The quick brown",
    "q",
    "zz",
    "  ",
    "7 + 4",
)
GREEDY = {"model": "assistant", "temperature": 0, "ignore_eos": True}
LASTS_S = 0.02
"""What a step takes where answers are to last."""


@pytest.fixture
def pacing(tmp_path: Path) -> Pacing:
    return Pacing(tmp_path)


def asked(number: int, tokens: int) -> dict[str, Any]:
    return {**GREEDY, "prompt": PROMPTS[number % len(PROMPTS)], "max_tokens": tokens}


def expected(server: Server, tokens: int) -> dict[str, str]:
    """What each prompt is answered when nobody else asks."""
    found = {}
    for number, prompt in enumerate(PROMPTS):
        [choice] = server.post(TEXT, asked(number, tokens)).json()["choices"]
        assert choice["finish_reason"] == "length"
        found[prompt] = choice["text"]
    assert len(set(found.values())) == len(PROMPTS)
    return found


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def begun(streams: list[Heard]) -> None:
    await until(lambda: all(heard.tokens > 1 for heard in streams), "every stream's beginning")
    assert not any(heard.ended for heard in streams), streams


async def waiting(server: Server, count: int) -> None:
    await until_told(
        lambda: metric(server, "maas_generations_waiting") == count, f"{count} waiting"
    )


def test_two_hundred_streams_of_which_half_are_left(start, writers_home):
    # The cache holds two contexts: what a hundred streams leave behind could not go unnoticed.
    server = start(like=writers_home, MAAS_GENERATION_KV_BYTES=str(1 * MIB))
    right = expected(server, 48)
    chance = random.Random(5)
    pids = [server.host_of("assistant", 1)["pid"], server.processes()["ingress-1"]["pid"]]
    used: list[list[int]] = []

    async def one_round() -> None:
        async with calling(server) as caller:
            leaves = [None if n % 2 else chance.randrange(48) for n in range(200)]
            streams = [caller.open(asked(n, 48), leave) for n, leave in enumerate(leaves)]
            await caller.all()
        for number, (heard, leave) in enumerate(zip(streams, leaves, strict=True)):
            assert not heard.lost, heard
            if leave is None:
                assert heard.whole, heard
                assert heard.text == right[asked(number, 48)["prompt"]], number
            else:
                assert heard.left, heard
                assert not heard.done, heard
        await until_told(lambda: is_idle(server), "an end of what was left", 20)

    for _ in range(4):
        run(one_round())
        used.append([resident(pid) for pid in pids])
    assert [server.host_of("assistant", 1)["pid"], server.processes()["ingress-1"]["pid"]] == pids
    grown = [last - second for second, last in zip(used[1], used[-1], strict=True)]
    assert max(grown) < 20 * MIB, used
    # As many as there are places, each as long as the cache allows them all to be.
    full = server.post(TEXT, {**asked(0, 110), "n": 32}).json()
    assert [one["finish_reason"] for one in full["choices"]] == ["length"] * 32


@pytest.mark.parametrize("times", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_the_host_dies_under_streams(start_any, writers_home, pacing, times):
    places = {"MAAS_GENERATION_SEQUENCES": "16"}
    server = start_any(like=writers_home, **pacing.env, **places)
    right = expected(server, 12)

    async def one_death() -> None:
        pacing.set(LASTS_S)
        pid = server.host_of("assistant", 1)["pid"]
        async with calling(server) as caller:
            streams = [caller.open({**asked(n, 1900)}) for n in range(16)]
            await begun(streams)
            # All places are taken: none of these can have begun.
            behind = [caller.open(asked(n, 12)) for n in range(8)]
            plain = [asyncio.create_task(caller.plain(asked(n, 12))) for n in range(16)]
            await waiting(server, 24)
            assert not any(heard.ended for heard in streams)
            pacing.set(0)
            os.kill(pid, signal.SIGKILL)
            await caller.all()
            answers = await asyncio.gather(*plain)
        for heard in streams:
            assert heard.failed, heard
            assert "ended while it wrote" in check_sentence(heard.error["message"])
        for number, heard in enumerate(behind):
            assert heard.whole, heard
            assert heard.text == right[asked(number, 12)["prompt"]]
        for number, answer in enumerate(answers):
            assert answer.status_code == 200, answer.text
            [choice] = answer.json()["choices"]
            assert choice["text"] == right[asked(number, 12)["prompt"]]
        assert server.host_of("assistant", 1)["pid"] != pid
        await until_told(lambda: is_idle(server), "nothing under way")

    with Load(server, "/counts/predict", COUNT, callers=2) as beside:
        for _ in range(times):
            run(one_death())
    assert beside.failures == []
    assert set(beside.answers) == {200}
    assert expected(server, 12) == right


def test_answers_at_once_that_a_death_cut_short_are_no_answers(start_any, writers_home, pacing):
    """What had begun is not half an answer, and the caller is told that it may ask again."""
    server = start_any(like=writers_home, **pacing.env)
    pacing.set(LASTS_S)
    pid = server.host_of("assistant", 1)["pid"]

    async def drill() -> None:
        async with calling(server) as caller:
            plain = [asyncio.create_task(caller.plain(asked(n, 1900))) for n in range(4)]
            running = lambda: metric(server, "maas_generated_tokens_total") > 40  # noqa: E731
            await until_told(running, "some tokens")
            os.kill(pid, signal.SIGKILL)
            pacing.set(0)
            for answer in await asyncio.gather(*plain):
                assert answer.status_code == 503
                check_sentence(answer.json()["error"]["message"])
                assert int(answer.headers["retry-after"]) >= 1
            again = await caller.plain(asked(0, 12))
            assert again.status_code == 200

    run(drill())


def test_an_engine_that_breaks(start, writers_home, pacing):
    server = start(like=writers_home, **pacing.env)
    right = expected(server, 12)
    pid = server.host_of("assistant", 1)["pid"]
    pacing.set(LASTS_S)

    async def drill() -> None:
        async with calling(server) as caller:
            streams = [caller.open(asked(n, 1900)) for n in range(4)]
            await begun(streams)
            pacing.break_it()
            pacing.set(0)
            await caller.all()
            for heard in streams:
                assert heard.failed, heard
                assert "failed while it was writing" in check_sentence(heard.error["message"])
            answer = await caller.plain(asked(0, 12))
            assert answer.json()["choices"][0]["text"] == right[PROMPTS[0]]

    run(drill())
    assert server.host_of("assistant", 1)["pid"] != pid
    assert "a test broke the engine" in server.log(400)
    assert "its engine failed" in server.cli("logs").out
    assert expected(server, 12) == right
    assert is_idle(server)


def test_a_version_is_replaced_under_streams(start_any, writers_home, pacing, tmp_path):
    server = start_any(like=writers_home, **pacing.env)
    first = expected(server, 300)
    second = tiny_gguf(tmp_path / "second.gguf", seed=7)
    server.publish(second, "assistant", engine="openvino-genai", promote=False)
    old = server.host_of("assistant", 1)["pid"]

    async def drill() -> None:
        pacing.set(LASTS_S)
        async with calling(server) as caller:
            streams = [caller.open(asked(n, 300)) for n in range(16)]
            await begun(streams)
            await asyncio.to_thread(server.api, "DELETE", "/models/assistant/aliases/prod")
            body = {"traffic": {"2": 100}}
            put = await asyncio.to_thread(server.api, "PUT", "/deployments/assistant", body)
            assert put.status_code == 200, put.text
            assert not any(heard.ended for heard in streams), "they were too short"
            new = await caller.plain(asked(0, 300) | {"max_tokens": 3})
            assert new.headers["maas-model"] == "assistant:2"
            gone = await asyncio.to_thread(server.api, "DELETE", "/models/assistant/versions/1")
            assert gone.status_code == 204, gone.text
            assert not any(heard.ended for heard in streams), "they were too short"
            pacing.set(0)
            await caller.all()
        for number, heard in enumerate(streams):
            assert heard.whole, heard
            assert heard.model == "assistant:1"
            assert heard.text == first[asked(number, 300)["prompt"]]

    run(drill())
    wait_until(lambda: not Path(f"/proc/{old}").exists(), 20, "the end of the old host")
    assert expected(server, 40) != {prompt: text[:40] for prompt, text in first.items()}
    assert server.post(TEXT, asked(0, 3)).headers["maas-model"] == "assistant:2"
    openai_error(server.post(TEXT, {**asked(0, 3), "model": "assistant:1"}), 404)


def test_a_server_that_ends_lets_streams_end(start, writers_home, pacing):
    server = start(like=writers_home, **pacing.env)
    right = expected(server, 100)
    pacing.set(LASTS_S)

    async def drill() -> None:
        async with calling(server) as caller:
            streams = [caller.open(asked(n, 100)) for n in range(16)]
            await begun(streams)
            await asyncio.to_thread(server.stop)  # exit status 0, and nobody is left
            await caller.all()
        for number, heard in enumerate(streams):
            assert heard.whole, heard
            assert heard.text == right[asked(number, 100)["prompt"]]

    run(drill())


def test_a_server_that_ends_does_not_wait_for_ever(start, writers_home, pacing):
    server = start(like=writers_home, MAAS_SERVER_DRAIN_S="2", **pacing.env)
    pacing.set(10 * LASTS_S)

    async def drill() -> None:
        async with calling(server) as caller:
            streams = [caller.open(asked(n, 1900)) for n in range(16)]
            await begun(streams)
            await asyncio.to_thread(server.stop)
            await caller.all()
        for heard in streams:
            # Cut off, and nothing that could be taken for an end.
            assert heard.finish is None, heard
            assert not heard.done, heard
            assert heard.lost or heard.error, heard

    run(drill())


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_a_client_that_goes_away_stops_the_model(start, writers_home, pacing, version):
    server = start(like=writers_home, **pacing.env)
    if version != "--http1.1" and server.front != "envoy":
        pytest.skip("uvicorn speaks HTTP/1.1 only")
    pacing.set(LASTS_S)
    url = server.url + TEXT
    body = '{"model": "assistant", "prompt": "a", "max_tokens": 1900, "ignore_eos": true, '
    argv = ["curl", "-sN", version, url, "-d", body + '"stream": true}']
    client = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        events = [client.stdout.readline() for _ in range(20)]
        assert all(line == b"\n" or line.startswith(b"data: {") for line in events), events
        assert metric(server, "maas_generations_running") == 1
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
    wait_until(lambda: is_idle(server), 10, "an end of what nobody reads")
    written = metric(server, "maas_generated_tokens_total")
    assert 10 <= written < 1000
    assert server.post(TEXT, asked(0, 5)).status_code == 200
    wait_until(
        lambda: metric(server, "maas_generated_tokens_total") == written + 5, 10, "five tokens more"
    )


def test_more_callers_than_places(start, writers_home, pacing):
    places = {"MAAS_GENERATION_SEQUENCES": "2", "MAAS_GENERATION_WAITING": "2"}
    server = start(like=writers_home, **pacing.env, **places)
    right = expected(server, 30)

    async def refused(caller: Caller) -> None:
        answer = await caller.plain(asked(0, 30))
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        check_sentence(error["message"])

    async def drill() -> None:
        pacing.set(LASTS_S)
        async with calling(server) as caller:
            held = [caller.open(asked(n, 1900)) for n in range(2)]
            await begun(held)
            behind = [caller.open(asked(n, 30)) for n in range(2)]
            await waiting(server, 2)
            for _ in range(4):
                await asyncio.gather(*[refused(caller) for _ in range(4)])
            more = [caller.open(asked(n, 30)) for n in range(4)]
            await until(lambda: all(heard.ended for heard in more), "four refusals")
            assert [heard.status for heard in more] == [429] * 4
            pacing.set(0)
            await caller.all()
        assert all(heard.whole for heard in held + behind), held + behind
        for number, heard in enumerate(behind):
            assert heard.text == right[asked(number, 30)["prompt"]]
        # All at once, without an order.
        async with calling(server) as caller:
            crowd = [caller.open(asked(n, 30)) for n in range(20)]
            await caller.all()
        assert Counter(heard.status for heard in crowd).keys() == {200, 429}
        for number, heard in enumerate(crowd):
            assert heard.whole == (heard.status == 200), heard
            if heard.whole:
                assert heard.text == right[asked(number, 30)["prompt"]]
        await until_told(lambda: is_idle(server), "nothing under way")

    run(drill())
    assert expected(server, 30) == right


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_loading_and_unloading(start_any, writers_home, times):
    server = start_any(like=writers_home)
    hosts: set[int] = set()
    lasting = [server.pid, server.processes()["control"]["pid"]]
    used: list[list[int]] = []
    for _ in range(times):
        assert server.post(TEXT, asked(0, 5)).status_code == 200
        pid = server.host_of("assistant", 1)["pid"]
        assert pid not in hosts
        hosts.add(pid)
        answer = server.post("/v2/repository/models/assistant/unload", {}, headers=owner(server))
        assert answer.status_code == 200, answer.text
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 20, "the host's end")
        used.append([resident(pid) for pid in lasting])
        answer = server.post("/v2/repository/models/assistant/load", {}, headers=owner(server))
        assert answer.status_code == 200, answer.text
    grown = [last - second for second, last in zip(used[1], used[-1], strict=True)]
    assert max(grown) < 10 * MIB, used
    assert server.post(TEXT, asked(0, 5)).status_code == 200


def owner(server: Server) -> dict[str, str]:
    return {"authorization": f"Bearer {server.key}"}
