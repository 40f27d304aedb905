"""An ingress's side of the frames, with a real host on the other."""

from __future__ import annotations

import asyncio
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
from maas.serving.frames import (
    PREFIX,
    InferFrame,
    decode_header,
)
from maas.serving.replica import HostReplica, ReplicaLostError

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
