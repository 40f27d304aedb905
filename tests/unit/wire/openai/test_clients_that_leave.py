"""Clients that go away, and clients that stop reading: what is written for them ends."""

from __future__ import annotations

import asyncio

import pytest

from maas.core.errors import ErrorKind, MaasError

PATH = "/v1/completions"
ASK = {"model": "assistant", "prompt": "Say hello", "max_tokens": 9, "stream": True}


async def test_a_client_that_goes_away_ends_its_stream_with_the_next_send(talker):
    go, never = asyncio.Event(), asyncio.Event()
    talker.author.before = {2: go, 3: never}
    reply = talker.begin(PATH, ASK)
    await reply.until(lambda: b'"lo"' in reply.body)
    reply.gone.set()
    if talker.envoy:
        go.set()  # the send that follows says it
    else:
        # uvicorn's sends do not; the engine looks for the caller, and says so.
        talker.author.before[2] = None
        talker.author.before[3] = MaasError(ErrorKind.CANCELLED, "the client went away")
        go.set()
    await reply.task
    assert talker.author.running == 0
    assert "好" not in reply.body.decode()
    assert b"DONE" not in reply.body
    assert b"error" not in reply.body


async def test_a_task_that_is_cancelled_closes_its_call(talker):
    talker.author.before[1] = asyncio.Event()
    for stream in (True, False):
        reply = talker.begin(PATH, {**ASK, "stream": stream})
        await reply.until(lambda: talker.author.running == 1)
        for _ in range(10):
            await asyncio.sleep(0)
        reply.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reply.task
        assert talker.author.running == 0


async def test_a_client_that_stops_reading_loses_its_place(hasty):
    go, never = asyncio.Event(), asyncio.Event()
    hasty.author.before = {2: go, 3: never}
    reply = hasty.begin(PATH, ASK)
    reply.stalled = asyncio.Event()
    await reply.until(lambda: hasty.author.running == 1)
    for _ in range(10):
        await asyncio.sleep(0)
    go.set()  # what comes now waits behind what is not taken
    await reply.until(lambda: hasty.author.running == 0)
    reply.stalled.set()
    await reply.task
    assert b"DONE" not in reply.body


async def test_a_slow_reader_gets_what_came_meanwhile_in_one_send(talker):
    go = asyncio.Event()
    talker.author.before[1] = go
    reply = talker.begin(PATH, ASK)
    reply.stalled = asyncio.Event()
    await reply.until(lambda: talker.author.running == 1)
    go.set()
    await reply.until(lambda: talker.author.running == 0)
    reply.stalled.set()
    await reply.task
    assert "".join(one["choices"][0]["text"] for one in reply.chunks) == "Hello 你好"
    assert len(reply.sends) <= 4


async def test_many_streams_of_which_half_are_left(talker):
    gate = asyncio.Event()
    talker.author.before[2] = gate
    replies = [talker.begin(PATH, ASK) for _ in range(200)]
    await replies[-1].until(lambda: all(b'"lo"' in one.body for one in replies))
    for one in replies[::2]:
        one.task.cancel()
    gate.set()
    await asyncio.wait([one.task for one in replies])
    assert talker.author.running == 0
    for one in replies[1::2]:
        assert "".join(each["choices"][0]["text"] for each in one.chunks) == "Hello 你好"
