"""An ingress's side of the frames, with a real host on the other."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from maas_test_crossing import Host, M, call, error_of, hold, until, x
from maas_test_models import BATCHED, HOLD, PAIR, POISON, REFUSED, SHOUT, WHOLE

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.serving import frames, segments, sharing
from maas.serving.frames import (
    PREFIX,
    InferFrame,
    decode_header,
)
from maas.serving.replica import HostReplica, ReplicaLostError
from maas.serving.segments import SegmentPool

Start = Callable[..., Awaitable[tuple[Host, HostReplica]]]

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


async def test_a_call_is_answered(start: Start) -> None:
    _, replica = await start()
    reply = await replica.infer(call(x(1, 2)))
    assert reply.servable == M
    assert reply.signature is BATCHED
    np.testing.assert_array_equal(reply.outputs["y"], [[2, 0], [4, 0]])


async def test_every_answer_goes_to_its_caller(start: Start) -> None:
    host, replica = await start(batch_rows=64)
    generator = random.Random(1)

    async def one(value: int) -> None:
        rows = generator.randint(1, 5)
        inputs = x(*[value] * rows, columns=generator.choice([2, 2, 2, 3]))
        if value % 17 == 0:
            assert (await error_of(replica.infer(call(x(REFUSED))))).kind == "invalid_argument"
            return
        await asyncio.sleep(generator.random() / 50)
        if value % 5 == 0:
            reply = await replica.infer(call(inputs, WHOLE))
            assert reply.outputs["total"] == value * rows
        else:
            reply = await replica.infer(call(inputs))
            np.testing.assert_array_equal(reply.outputs["y"], 2 * inputs["x"])

    await asyncio.gather(*(one(value) for value in range(100, 1100)))
    assert len(host.model.executions) < 1000  # some ran together


async def test_two_ingresses_share_a_host(start: Start) -> None:
    host, first = await start()
    second = await host.connect()
    held = await hold(host, first)
    futures = [replica.infer(call(x(n))) for n, replica in enumerate([first, second, first])]
    await asyncio.sleep(0.05)
    host.model.go.set()
    for n, future in enumerate(futures):
        assert (await future).outputs["y"][0, 0] == 2 * n
    await held
    second._transport.close()
    await until(lambda: not second.connected)


async def test_calls_of_one_tick_leave_as_one_frame(start: Start) -> None:
    host, replica = await start()
    replies = await asyncio.gather(*(replica.infer(call(x(n))) for n in range(20)))
    assert [reply.outputs["y"][0, 0] for reply in replies] == [2 * n for n in range(20)]
    assert host.model.runs == [[float(n) for n in range(20)]]


async def test_a_frame_has_at_most_so_many_rows(start: Start) -> None:
    host, replica = await start(batch_rows=4, frames=1)
    await asyncio.gather(*(replica.infer(call(x(*[n] * 3))) for n in range(4)))
    assert host.model.runs == [[n] * 3 for n in range(4)]


async def test_trailing_shapes_travel_apart(start: Start) -> None:
    _, replica = await start()
    columns = [1, 1, 2, 1, 3, 3]
    replies = await asyncio.gather(*(replica.infer(call(x(7, columns=n))) for n in columns))
    assert [reply.outputs["y"].shape for reply in replies] == [(1, n) for n in columns]


async def test_inputs_are_joined_by_name_whatever_their_order(start: Start) -> None:
    _, replica = await start()
    narrow, wide = np.ones((1, 3), np.float32), np.ones((1, 5), np.float32)
    async with asyncio.timeout(3):
        replies = await asyncio.gather(
            replica.infer(call({"a": narrow, "b": wide}, PAIR)),
            replica.infer(call({"b": narrow, "a": wide}, PAIR)),
            replica.infer(call({"b": wide, "a": narrow}, PAIR)),
        )
    assert [r.outputs["sum_a"][0] for r in replies] == [3, 5, 3]
    assert [r.outputs["sum_b"][0] for r in replies] == [5, 3, 5]


async def test_only_the_outputs_asked_for_come_back_in_their_order(start: Start) -> None:
    _, replica = await start()
    pair = {"a": np.ones((1, 1), np.float32), "b": np.zeros((1, 1), np.float32)}
    asked = ("sum_b", "sum_a")
    reply = await replica.infer(call(pair, PAIR, outputs=asked))
    assert tuple(reply.outputs) == asked
    reply = await replica.infer(call(pair, PAIR, outputs=("sum_b",)))
    assert tuple(reply.outputs) == ("sum_b",)


async def test_texts_travel(start: Start) -> None:
    _, replica = await start()
    words = [[b"a", "é".encode()], [b""], ["词".encode() * 1000, b"\x00\xff"]]
    arrays = []
    for some in words:
        array = np.empty(len(some), object)
        array[:] = some
        arrays.append(array)
    replies = await asyncio.gather(
        *(replica.infer(call({"text": array}, SHOUT)) for array in arrays)
    )
    assert [reply.outputs["loud"].tolist() for reply in replies] == [
        [word.upper() for word in some] for some in words
    ]


async def test_a_large_tensor_travels(start: Start) -> None:
    _, replica = await start()
    big = np.random.default_rng(0).random((10, 1 << 18), np.float32)  # 10 MiB
    small = [replica.infer(call(x(n))) for n in range(3)]
    reply = await replica.infer(call({"x": big}))
    np.testing.assert_array_equal(reply.outputs["y"], 2 * big)
    assert [(await future).outputs["y"][0, 0] for future in small] == [0, 2, 4]


async def test_empty_rows_travel(start: Start) -> None:
    _, replica = await start()
    reply = await replica.infer(call({"x": np.zeros((2, 0), np.float32)}))
    assert reply.outputs["y"].shape == (2, 0)


async def test_errors_of_neighbours_stay_theirs(start: Start) -> None:
    _, replica = await start()
    good, refused, poisoned = (replica.infer(call(x(v))) for v in (1, REFUSED, POISON))
    assert (await good).outputs["y"][0, 0] == 2
    assert (await error_of(refused)).kind is ErrorKind.INVALID_ARGUMENT
    assert (await error_of(poisoned)).kind is ErrorKind.INTERNAL


async def test_a_call_past_its_deadline_is_told_so(start: Start) -> None:
    host, replica = await start()
    held = await hold(host, replica)
    late = replica.infer(call(x(1), seconds=0.05))
    error = await error_of(late)
    assert error.kind is ErrorKind.DEADLINE_EXCEEDED
    assert "m:1" in error.message
    host.model.go.set()
    await held
    await replica.infer(call(x(2)))
    assert [1.0] not in host.model.runs


async def test_a_call_that_still_waits_for_a_frame_can_expire_too(start: Start) -> None:
    host, replica = await start(frames=1)
    held = await hold(host, replica)
    late = replica.infer(call(x(1), seconds=0.05))
    assert (await error_of(late)).kind is ErrorKind.DEADLINE_EXCEEDED
    host.model.go.set()
    await held
    await replica.infer(call(x(2)))
    assert host.model.runs == [[HOLD], [2]]


async def test_the_host_is_told_of_a_call_that_expired(run: Path, start: Start) -> None:
    """A host that has the deadline need not be told, but its clock may be a batch behind."""
    path = run / "silent.sock"
    frames: list[object] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head, size = PREFIX.unpack(await reader.readexactly(PREFIX.size))
                frames.append(decode_header(await reader.readexactly(head)))
                await reader.readexactly(size)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_unix_server(listen, path)
    host, _ = await start()
    host.path = path
    replica = await host.connect()
    kept = replica.infer(call(x(1), seconds=30))
    late = replica.infer(call(x(2), seconds=0.05))
    assert (await error_of(late)).kind is ErrorKind.DEADLINE_EXCEEDED
    await until(lambda: len(frames) == 2)
    infer, cancel = frames
    assert isinstance(infer, InferFrame)
    assert infer.rows == (1, 1)
    assert (type(cancel).__name__, cancel.id, cancel.index) == ("CancelFrame", infer.id, 1)
    assert not kept.done()
    replica._transport.close()
    with pytest.raises(ReplicaLostError):
        await kept
    server.close()
    await server.wait_closed()


async def test_a_call_whose_caller_went_away_is_never_executed(start: Start) -> None:
    host, replica = await start()
    held = await hold(host, replica)
    gone = replica.infer(call(x(1)))
    await asyncio.sleep(0.1)  # it is at the host by now, behind the one that holds
    gone.cancel()
    await asyncio.sleep(0.1)
    host.model.go.set()
    await held
    assert (await replica.infer(call(x(2)))).outputs["y"][0, 0] == 4
    assert [1.0] not in host.model.runs


async def test_a_call_cancelled_before_it_left_is_never_executed(start: Start) -> None:
    host, replica = await start(frames=1)
    held = await hold(host, replica)
    gone = replica.infer(call(x(1)))
    stays = replica.infer(call(x(2)))
    await asyncio.sleep(0)
    gone.cancel()
    host.model.go.set()
    await held
    assert (await stays).outputs["y"][0, 0] == 4
    assert host.model.runs == [[HOLD], [2]]


async def test_too_many_waiting_rows_are_refused(start: Start) -> None:
    host, replica = await start(waiting_rows=4, frames=1)
    held = await hold(host, replica)
    waiting = [replica.infer(call(x(n, n))) for n in range(2)]
    with pytest.raises(MaasError) as caught:
        replica.infer(call(x(9)))
    assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_s
    assert "m:1" in caught.value.message
    host.model.go.set()
    await held
    await asyncio.gather(*waiting)
    assert (await replica.infer(call(x(9)))).outputs["y"][0, 0] == 18


async def test_one_call_larger_than_the_limit_is_let_in(start: Start) -> None:
    _, replica = await start(waiting_rows=2)
    assert (await replica.infer(call(x(*range(5))))).outputs["y"].shape == (5, 2)


async def test_the_waiting_of_one_signature_does_not_refuse_another(start: Start) -> None:
    host, replica = await start(waiting_rows=1, frames=1)
    held = await hold(host, replica)
    waiting = replica.infer(call(x(1)))
    text = np.array([b"a"], object)
    other = replica.infer(call({"text": text}, SHOUT))
    host.model.go.set()
    assert (await other).outputs["loud"].tolist() == [b"A"]
    await waiting
    await held


async def test_a_version_that_is_not_there_is_lost_to_its_callers(start: Start) -> None:
    _, replica = await start()
    with pytest.raises(ReplicaLostError):
        await replica.infer(call(x(1), servable=ServableId("m", 2)))
    assert replica.connected
    assert (await replica.infer(call(x(1)))).outputs["y"][0, 0] == 2


async def test_a_connection_that_breaks_tells_every_caller(start: Start, run: Path) -> None:
    host, _ = await start()
    host.path = run / "cut.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(host.path))
    listener.listen()
    replica = await asyncio.wait_for(host.connect(), 5)
    peer, _ = listener.accept()
    flying = [replica.infer(call(x(n))) for n in range(2)]
    flying.append(replica.infer(call(x(1), WHOLE, servable=ServableId("a", 7))))
    await asyncio.sleep(0.05)
    peer.close()
    listener.close()
    for future in flying:
        with pytest.raises(ReplicaLostError):
            await future
    assert not replica.connected
    assert host.lost == [(("a", 7), ("m", 1))]


async def test_calls_that_never_left_are_told_too(start: Start, run: Path) -> None:
    host, _ = await start(frames=1)
    host.path = run / "cut.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(host.path))
    listener.listen()
    replica = await asyncio.wait_for(host.connect(), 5)
    peer, _ = listener.accept()
    first = replica.infer(call(x(1)))
    await asyncio.sleep(0.05)
    second = replica.infer(call(x(2)))
    peer.close()
    listener.close()
    for future in (first, second):
        with pytest.raises(ReplicaLostError):
            await future
    assert host.lost == [(("m", 1),)]


async def test_a_host_that_hangs_is_reported(start: Start) -> None:
    host, replica = await start(grace_s=0.05)
    held = await hold(host, replica, seconds=0.05)
    assert (await error_of(held)).kind is ErrorKind.DEADLINE_EXCEEDED
    await until(lambda: bool(host.overdue))
    assert host.overdue == [("m", 1)]


async def test_a_host_that_is_within_its_grace_is_not_reported(start: Start) -> None:
    host, replica = await start(grace_s=30.0)
    held = await hold(host, replica, seconds=0.05)
    assert (await error_of(held)).kind is ErrorKind.DEADLINE_EXCEEDED
    await asyncio.sleep(0.1)
    assert host.overdue == []


async def test_a_caller_in_a_hurry_has_no_host_reported_that_works(start: Start) -> None:
    host, _ = await start(grace_s=0.05)
    host.call_s = 30.0
    replica = await host.connect()
    held = await hold(host, replica, seconds=0.05)
    assert (await error_of(held)).kind is ErrorKind.DEADLINE_EXCEEDED
    await asyncio.sleep(0.2)
    assert host.overdue == []
    host.model.go.set()
    await until(lambda: not replica._flights)
    replica.close_when_idle()
    await until(lambda: not replica.connected)


async def test_calls_that_wait_go_on_once_a_host_that_hung_is_back(start: Start) -> None:
    host, replica = await start(frames=1, grace_s=0.05)
    held = await hold(host, replica, seconds=0.05)
    waiting = replica.infer(call(x(1), seconds=2))
    assert (await error_of(held)).kind is ErrorKind.DEADLINE_EXCEEDED
    await until(lambda: bool(host.overdue))
    host.model.go.set()
    assert (await waiting).outputs["y"][0, 0] == 2


async def test_a_replica_closes_when_its_last_call_is_answered(start: Start) -> None:
    host, replica = await start()
    held = await hold(host, replica)
    replica.close_when_idle()
    await asyncio.sleep(0.1)
    assert replica.connected
    host.model.go.set()
    assert (await held).outputs["y"][0, 0] == 2 * HOLD
    await until(lambda: not replica.connected)
    assert host.lost == [()]


# Shared memory

WIDE = 1 << 18
"""Columns of a row of 1 MiB."""


def wide(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full((1, WIDE), value, np.float32)}


async def test_a_large_tensor_crosses_in_shared_memory_both_ways(start: Start) -> None:
    host, replica = await start()
    for value in range(1, 20):
        reply = await replica.infer(call(wide(value)))
        assert (reply.outputs["y"] == 2 * value).all()
        del reply
    assert replica._sharing.lent == {}
    assert len(replica._sharing._pool) == 1  # the same one each time
    assert len(replica._sharing._mappings) <= 2  # the next may come before this is given back
    assert len(host.model.executions) == 19


async def test_rows_of_several_calls_are_packed_into_one_segment(start: Start) -> None:
    host, replica = await start()
    values = [1, 2, 3, 4, 5]
    replies = await asyncio.gather(*(replica.infer(call(wide(value))) for value in values))
    assert [reply.outputs["y"][0, -1] for reply in replies] == [2, 4, 6, 8, 10]
    assert host.model.runs == [values]


async def test_a_frame_is_not_packed_without_end(start: Start) -> None:
    host, replica = await start()
    await asyncio.gather(*(replica.infer(call(wide(value))) for value in range(20)))
    assert max(map(len, host.model.runs)) <= 16  # of 1 MiB each


async def test_an_answer_stays_as_it_was_while_others_come(start: Start) -> None:
    _, replica = await start()
    kept = [await replica.infer(call(wide(value))) for value in range(1, 9)]
    assert [reply.outputs["y"][0, 7] for reply in kept] == [2, 4, 6, 8, 10, 12, 14, 16]
    part = kept[3].outputs["y"][:, 5:9]
    kept.clear()
    for value in range(20, 40):
        await replica.infer(call(wide(value)))
    assert part.tolist() == [[8, 8, 8, 8]]


async def test_more_than_the_budget_travels_in_frames(start: Start) -> None:
    host, replica = await start(segment_bytes=1 << 21)
    big = np.random.default_rng(0).random((10, WIDE), np.float32)
    reply = await replica.infer(call({"x": big}))
    np.testing.assert_array_equal(reply.outputs["y"], 2 * big)
    assert len(replica._sharing._pool) == 0
    reply = await replica.infer(call(wide(3)))
    assert len(replica._sharing._pool) == 1
    assert len(host.model.executions) == 2


async def test_texts_and_numbers_share_a_segment(start: Start) -> None:
    _, replica = await start()
    words = np.empty(20_000, object)
    words[:] = [b"a" * (n % 7) for n in range(20_000)]
    reply = await replica.infer(call({"text": words}, SHOUT))
    assert len(replica._sharing._pool) == 1
    assert reply.outputs["loud"].tolist() == [word.upper() for word in words.tolist()]


async def test_memory_that_the_host_may_still_read_is_not_used_again(start: Start) -> None:
    """Whoever asked has given up, and even the grace is over: the engine is still at work."""
    host, replica = await start(grace_s=0.05)
    held = replica.infer(call(wide(HOLD), seconds=0.05))
    await asyncio.to_thread(host.model.entered.wait, 5)
    assert (await error_of(held)).kind is ErrorKind.DEADLINE_EXCEEDED
    await until(lambda: bool(host.overdue))
    assert len(replica._sharing.lent) == 1
    waiting = replica.infer(call(wide(5)))
    await asyncio.sleep(0.05)
    assert len(replica._sharing._pool) == 2
    host.model.go.set()
    assert (await waiting).outputs["y"][0, 0] == 10
    await until(lambda: not replica._sharing.lent)
    assert host.model.runs == [[HOLD], [5]]


async def test_a_call_given_up_gives_its_memory_back_with_the_reply(start: Start) -> None:
    host, replica = await start()
    held = await hold(host, replica)
    gone = replica.infer(call(wide(1)))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.sleep(0.1)
    assert len(replica._sharing.lent) == 1
    host.model.go.set()
    await held
    await until(lambda: not replica._sharing.lent)
    assert [1.0] not in host.model.runs


async def test_an_answer_is_readable_after_the_host_has_gone(start: Start) -> None:
    _, replica = await start()
    reply = await replica.infer(call(wide(3)))
    replica._transport.close()
    await until(lambda: not replica.connected)
    assert (reply.outputs["y"] == 6).all()


@pytest.mark.parametrize("blind", ["the host", "the ingress"])
async def test_an_end_that_cannot_reach_it_is_sent_frames(
    start: Start, monkeypatch: pytest.MonkeyPatch, blind: str
) -> None:
    """As where /proc is hidden: the call is to be made again, and then goes without."""

    def peer(connection: object) -> int:
        at_host = isinstance(connection, socket.socket)
        return 0 if at_host is (blind == "the host") else os.getpid()

    monkeypatch.setattr(segments, "peer_pid", peer)
    host, replica = await start()
    with pytest.raises(ReplicaLostError):
        await replica.infer(call(wide(4)))
    assert replica.connected
    for _ in range(3):
        reply = await replica.infer(call(wide(4)))
        assert (reply.outputs["y"] == 8).all()
    assert len(replica._sharing._pool) == (0 if blind == "the host" else 1)
    assert len(host.model.executions) == (3 if blind == "the host" else 4)


async def test_memory_that_nobody_wants_is_given_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "IDLE_S", 0.05)
    monkeypatch.setattr(SegmentPool.trim, "__defaults__", (0.0,))
    _, replica = await start()
    reply = await replica.infer(call(wide(4)))
    del reply
    await until(lambda: len(replica._sharing._pool) == 0 and len(replica._sharing._mappings) == 0)
    assert ((await replica.infer(call(wide(5)))).outputs["y"] == 10).all()


async def test_what_no_frame_can_hold_is_refused(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_TENSORS", 1 << 16)
    _, replica = await start(segment_bytes=0)
    error = await error_of(replica.infer(call(wide(1))))
    assert error.kind is ErrorKind.TOO_LARGE
    small = {"x": np.ones((1, 1 << 13), np.float32)}
    assert (await replica.infer(call(small))).outputs["y"].shape == (1, 1 << 13)


async def test_a_call_that_nobody_waits_for_takes_nobodys_place(start: Start) -> None:
    host, replica = await start(waiting_rows=4, frames=1)
    held = await hold(host, replica)
    waiting = [replica.infer(call(x(n, n))) for n in range(2)]
    with pytest.raises(MaasError):
        replica.infer(call(x(9, 9)))
    waiting[0].cancel()
    await asyncio.sleep(0.1)
    waiting.append(replica.infer(call(x(9, 9))))
    host.model.go.set()
    await held
    assert [(await one).outputs["y"][0, 0] for one in waiting[1:]] == [2, 18]
    assert host.model.runs == [[HOLD], [1, 1, 9, 9]]


# Priorities


async def order(host: Host, replica: HostReplica, *priorities: int) -> list[object]:
    """In which order calls of these priorities run; each is known by its place in the row."""
    held = await hold(host, replica)
    waiting = [
        replica.infer(call(x(n), WHOLE, priority=priority)) for n, priority in enumerate(priorities)
    ]
    await asyncio.sleep(0.02)
    host.model.go.set()
    await held
    await asyncio.gather(*waiting)
    return [values[0] for values in host.model.runs[1:]]


@pytest.mark.parametrize("frames", [1, 16])
async def test_the_most_urgent_goes_first(start: Start, frames: int) -> None:
    host, replica = await start(single_frames=frames)
    assert await order(host, replica, 5, 2, 1, 2, 1) == [2, 4, 1, 3, 0]


async def test_without_priorities_they_go_as_they_came(start: Start) -> None:
    host, replica = await start(single_frames=1)
    assert await order(host, replica, 0, 0, 0, 0) == [0, 1, 2, 3]


async def test_no_priority_is_in_the_middle(start: Start) -> None:
    host, replica = await start(single_frames=16)
    later = (1 << 31) + 1
    assert await order(host, replica, 0, later, 0, 9, 0) == [3, 0, 2, 4, 1]


# Callers that go away


async def test_a_call_whose_caller_has_gone_is_dropped(start: Start) -> None:
    host, replica = await start()
    held = await hold(host, replica)
    host.gone = {"ann": asyncio.Future(), "bob": asyncio.Future()}
    gone = replica.infer(call(x(1), caller="ann"))
    stays = replica.infer(call(x(2), caller="bob"))
    await asyncio.sleep(0.05)
    host.gone["ann"].set_result(True)
    assert (await error_of(gone)).kind is ErrorKind.CANCELLED
    host.gone["bob"].set_result(False)
    await asyncio.sleep(0.05)
    host.model.go.set()
    await held
    assert (await stays).outputs["y"][0, 0] == 4
    assert host.model.runs == [[HOLD], [2]]


async def test_a_call_that_never_left_is_dropped_too(start: Start) -> None:
    host, replica = await start(frames=1)
    held = await hold(host, replica)
    host.gone = {"ann": asyncio.Future()}
    host.gone["ann"].set_result(True)
    assert (await error_of(replica.infer(call(x(1), caller="ann")))).kind is ErrorKind.CANCELLED
    host.model.go.set()
    await held
    assert host.model.runs == [[HOLD]]


async def test_callers_of_calls_that_are_answered_soon_are_not_looked_for(start: Start) -> None:
    _, replica = await start()
    await replica.infer(call(x(1), caller="nobody knows"))  # looking for it would raise


async def test_news_that_fail_are_no_news(start: Start) -> None:
    host, replica = await start()
    held = await hold(host, replica)
    host.gone = {"ann": asyncio.Future()}
    stays = replica.infer(call(x(1), caller="ann"))
    host.gone["ann"].set_exception(RuntimeError("the connection is closed"))
    await asyncio.sleep(0.15)
    host.model.go.set()
    await held
    assert (await stays).outputs["y"][0, 0] == 2


async def test_so_many_callers_are_looked_for_at_a_time(start: Start) -> None:
    host, replica = await start()
    held = await hold(host, replica)
    never: asyncio.Future[bool] = asyncio.Future()
    asked = []
    host.gone = Asked(never, asked)
    waiting = [replica.infer(call(x(n), caller=n)) for n in range(100)]
    await until(lambda: len(asked) == 100)
    assert sorted(asked) == list(range(100))  # and none twice, since none has been heard of
    host.model.go.set()
    await asyncio.gather(held, *waiting)


class Asked(dict):
    def __init__(self, answer: asyncio.Future[bool], asked: list[object]):
        super().__init__()
        self._answer = answer
        self._asked = asked

    def __getitem__(self, caller: object) -> asyncio.Future[bool]:
        self._asked.append(caller)
        return self._answer
