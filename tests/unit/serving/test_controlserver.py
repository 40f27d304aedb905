"""Control's side of its socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from maas_test_controls import HOST, INGRESS, Control, until

from maas.core.errors import ErrorKind
from maas.serving.controlserver import MOST_QUESTIONS
from maas.serving.messages import (
    LENGTH,
    MAX_MESSAGE,
    Ack,
    Ask,
    Changed,
    Done,
    FromControl,
    FromProcess,
    Hello,
    Recount,
    Refused,
    StatisticsOf,
    Stats,
    Told,
    UnloadModel,
    Want,
    decode_from_control,
    encode,
)
from maas.telemetry.series import Series

StartControl = Callable[..., Awaitable[Control]]


class Process:
    """A process's end of the wire, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    def say(self, *messages: FromProcess) -> None:
        for message in messages:
            self.writer.write(encode(message))

    async def hear(self) -> FromControl:
        (size,) = LENGTH.unpack(await self.reader.readexactly(4))
        return decode_from_control(await self.reader.readexactly(size))

    async def ended(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 5) == b""


@pytest.fixture
async def connect(control: Control) -> AsyncIterator[Callable[..., object]]:
    made: list[Process] = []

    async def connect(*messages: FromProcess) -> Process:
        process = Process(*await asyncio.open_unix_connection(control.path))
        made.append(process)
        process.say(*messages)
        return process

    yield connect
    for process in made:
        process.writer.close()
        with contextlib.suppress(OSError):
            await process.writer.wait_closed()


Connect = Callable[..., object]


async def test_a_newcomer_is_told_what_to_hold(control: Control, connect: Connect) -> None:
    process = await connect(INGRESS)
    assert await process.hear() == Changed("epoch", 1, 0)
    assert control.heard == [("ingress-1", INGRESS)]
    assert [(peer.id, peer.pid) for peer in control.server.peers("ingress")] == [("ingress-1", 11)]


async def test_a_change_is_told_to_all(control: Control, connect: Connect) -> None:
    processes = [await connect(INGRESS), await connect(HOST)]
    for process in processes:
        await process.hear()
    control.change(2, keys=5)
    for process in processes:
        assert await process.hear() == Changed("epoch", 2, 5)


async def test_what_all_ingresses_hold_is_the_lowest_of_it(
    control: Control, connect: Connect
) -> None:
    assert control.server.acknowledged() is None
    assert control.server.keys_acknowledged() is None
    first, second = await connect(INGRESS), await connect(Hello("ingress", "ingress-2", 13))
    host = await connect(HOST)
    await until(lambda: len(control.heard) == 3)
    assert control.server.acknowledged() == -1
    first.say(Ack("epoch", 4, 2))
    second.say(Ack("epoch", 3, 1))
    host.say(Ack("epoch", 1, 0))
    await until(lambda: control.acks == 3)
    assert control.server.acknowledged() == 3
    assert control.server.keys_acknowledged() == 1


async def test_an_ingress_that_is_gone_holds_nobody_up(control: Control, connect: Connect) -> None:
    first, second = await connect(INGRESS), await connect(Hello("ingress", "ingress-2", 13))
    first.say(Ack("epoch", 4, 2))
    await until(lambda: control.acks == 1 and len(control.heard) == 2)
    second.writer.close()
    await until(lambda: control.server.acknowledged() == 4)
    assert control.acks == 2


async def test_an_acknowledgement_of_an_earlier_life_counts_for_nothing(
    control: Control, connect: Connect
) -> None:
    process = await connect(INGRESS, Ack("before", 99, 99))
    await until(lambda: control.acks == 1)
    assert control.server.acknowledged() == -1
    process.say(Ack("epoch", 1, 0))
    await until(lambda: control.server.acknowledged() == 1)


async def test_waiters_are_woken(control: Control, connect: Connect) -> None:
    waiting = asyncio.create_task(control.server.changed.wait())
    await connect(INGRESS, Ack("epoch", 1, 0))
    await asyncio.wait_for(waiting, 5)


async def test_what_is_said_reaches_control_in_order(control: Control, connect: Connect) -> None:
    said = [Want("m", n) for n in range(50)]
    await connect(INGRESS, *said)
    await until(lambda: len(control.heard) == 51)
    assert [message for _, message in control.heard[1:]] == said


async def test_counts_are_kept_by_process(control: Control, connect: Connect) -> None:
    series = (Series("c", ("a",), 3.0),)
    await connect(HOST, Stats(()), Stats(series))
    await until(lambda: control.stats.get("host-1") == series)


async def test_a_question_does_not_hold_up_what_comes_after_it(
    control: Control, connect: Connect
) -> None:
    process = await connect(INGRESS)
    await process.hear()
    control.answers.clear()
    process.say(Ask(7, StatisticsOf()), Ask(8, UnloadModel("m", 1.0)), Ack("epoch", 1, 3))
    await until(lambda: control.server.keys_acknowledged() == 3)
    control.answers.set()
    assert [await process.hear(), await process.hear()] == [
        Told(7, Done()),
        Told(8, Refused(ErrorKind.NOT_FOUND, "there is no model m")),
    ]


async def test_questions_of_one_process_are_bounded(control: Control, connect: Connect) -> None:
    process = await connect(INGRESS)
    await process.hear()
    control.answers.clear()
    process.say(*(Ask(n, StatisticsOf()) for n in range(MOST_QUESTIONS + 1)))
    told = await process.hear()
    assert told.id == MOST_QUESTIONS
    assert told.reply.kind is ErrorKind.RESOURCE_EXHAUSTED
    control.answers.set()


async def test_hosts_are_asked_what_they_have_counted(control: Control, connect: Connect) -> None:
    host, ingress = await connect(HOST), await connect(INGRESS)
    await host.hear()
    await ingress.hear()
    asking = asyncio.create_task(control.server.recount(5))
    assert await host.hear() == Recount()
    assert not asking.done()
    host.say(Stats(()))
    await asyncio.wait_for(asking, 5)
    await control.server.recount(0.01)  # who is slow is not waited for
    gone = asyncio.create_task(control.server.recount(5))
    await asyncio.sleep(0)
    host.writer.close()
    await asyncio.wait_for(gone, 5)


GARBAGE = [
    b"\x00",
    b"GET / HTTP/1.1\r\n\r\n",
    LENGTH.pack(MAX_MESSAGE + 1),
    LENGTH.pack(5) + b"\xc1" * 5,
    LENGTH.pack(0),
    encode(Want("m", 1)),  # before its Hello
    encode(INGRESS) + LENGTH.pack(3) + b"abc",
    encode(INGRESS) + LENGTH.pack(2**32 - 1),
    encode(INGRESS) + encode(Want("m", 1))[:7],
]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_ends_its_own_connection_only(
    control: Control, connect: Connect, data: bytes
) -> None:
    good = await connect(HOST)
    await good.hear()
    stranger = await connect()
    stranger.writer.write(data)
    stranger.writer.write_eof()
    while await asyncio.wait_for(stranger.reader.read(1 << 16), 5):
        pass
    await until(lambda: control.server.peers("ingress") == [])
    control.change(2)
    assert await good.hear() == Changed("epoch", 2, 0)
