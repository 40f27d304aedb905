from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta
from maas.wire.generation import Generation


class Call:
    """Deltas, one at once and the next when a test says so."""

    def __init__(self, *texts: str, error: Exception | None = None):
        self._texts = texts
        self._error = error
        self.go = asyncio.Event()
        self.closed = False

    async def deltas(self) -> AsyncGenerator[Delta]:
        try:
            for text in self._texts:
                yield Delta(0, text)
                await self.go.wait()
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


def begun(*calls: Call) -> Generation:
    return Generation([call.deltas() for call in calls], "id-1")


async def read(generation: Generation) -> list[tuple[int, str]]:
    found = []
    while ready := await generation.next():
        found += [(number, delta.text) for number, delta in ready]
    return found


async def test_what_is_ready_comes_at_once_and_in_order():
    one, two = Call("a", "b"), Call("c", "d")
    generation = begun(one, two)
    assert await generation.next() == [(0, Delta(0, "a")), (1, Delta(0, "c"))]
    two.go.set()
    assert await generation.next() == [(1, Delta(0, "d"))]
    one.go.set()
    assert await read(generation) == [(0, "b")]
    assert await generation.next() == []
    await generation.close()
    assert one.closed
    assert two.closed


async def test_an_error_comes_after_what_came_before_it_and_ends_the_others():
    failing = Call("a", error=MaasError(ErrorKind.UNAVAILABLE, "gone"))
    other = Call("b", "c")
    failing.go.set()
    generation = begun(other, failing)
    for _ in range(5):
        await asyncio.sleep(0)
    assert [delta.text for _, delta in await generation.next()] == ["b", "a"]
    with pytest.raises(MaasError, match="gone"):
        await generation.next()
    await generation.close()
    assert other.closed


async def test_what_is_no_error_of_ours_to_show_is_logged(caplog):
    call = Call(error=RuntimeError("secret"))
    with pytest.raises(MaasError, match="id-1") as caught:
        await begun(call).begin()
    assert caught.value.kind is ErrorKind.INTERNAL
    assert "secret" in caplog.text


async def test_closing_ends_what_is_under_way_and_waits_for_it():
    call = Call("a", "b")
    generation = begun(call)
    assert await generation.begin()
    await generation.close()
    assert call.closed
    await generation.close()


async def test_closing_before_anything_began():
    await begun(Call("a")).close()


async def test_a_reader_that_is_cancelled_at_the_beginning_leaves_nothing():
    class Silent(Call):
        async def deltas(self) -> AsyncGenerator[Delta]:
            try:
                await self.go.wait()
                yield Delta(0, "")
            finally:
                self.closed = True

    call = Silent()
    reader = asyncio.create_task(begun(call).begin())
    for _ in range(5):
        await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert call.closed
