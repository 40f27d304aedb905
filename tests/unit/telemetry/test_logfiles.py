from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from maas.supervisor.children import LogFile
from maas.telemetry.logfiles import TAIL_BYTES, LogFolder, LogLine


def everything(line: LogLine) -> bool:
    return True


def record(message: str, second: int = 0, **fields: str) -> str:
    line = {
        "time": f"2026-01-01T00:{second // 60:02}:{second % 60:02}.000+00:00",
        "level": "info", "process": "p", "message": message, **fields,
    }  # fmt: skip
    return json.dumps(line) + "\n"


class Logs:
    """A folder of logs."""

    def __init__(self, folder: Path):
        self.path = folder
        self.folder = LogFolder(folder)

    def write(self, name: str, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        with (self.path / name).open("ab") as file:
            file.write(data)

    def tail(self, lines: int = 100, wanted: Callable[[LogLine], bool] = everything) -> list[str]:
        return [line.message for line in self.folder.tail(wanted, lines)]


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def test_nothing_was_written(logs: Logs) -> None:
    assert logs.tail() == []


def test_lines_of_all_processes_come_in_the_order_of_time(logs: Logs) -> None:
    logs.write("host-1.log", record("b", 2) + record("d", 4))
    logs.write("control.log", record("a", 1) + record("c", 3))
    assert logs.tail() == ["a", "b", "c", "d"]


def test_what_was_written_before_a_rotation_is_there(logs: Logs) -> None:
    logs.write("host-1.log.1", record("old", 1))
    logs.write("host-1.log", record("new", 2))
    assert logs.tail() == ["old", "new"]


@pytest.mark.parametrize(("lines", "expected"), [(0, []), (1, ["d"]), (3, ["b", "c", "d"])])
def test_only_the_last_lines_are_given(logs: Logs, lines: int, expected: list[str]) -> None:
    logs.write("p.log", "".join(record(text, n) for n, text in enumerate("abcd")))
    assert logs.tail(lines) == expected


def test_only_what_is_wanted_counts(logs: Logs) -> None:
    logs.write(
        "p.log",
        "".join(record(text, n, model=f"m:{n % 2}") for n, text in enumerate("abcdef")),
    )
    assert logs.tail(2, lambda line: line.model == "m:0") == ["c", "e"]


def test_every_field_is_read(logs: Logs) -> None:
    fields = {"logger": "maas", "model": "m:1", "request_id": "r", "exception": "trace"}
    logs.write("p.log", record("模型", **fields))
    [line] = logs.folder.tail(everything, 1)
    assert line == LogLine("2026-01-01T00:00:00.000+00:00", "info", "p", "模型", **fields)


NO_JSON = [
    b"Traceback (most recent call last):", b"123", b'"text"', b"[]", b"[1]", b"[0]", b'["a"]',
    b"null", b"{}", b'{"time": "x"}', b'{"message": "m", "surprise": 1}', b"\xff\xfe", b"{", b"NaN",
]  # fmt: skip


@pytest.mark.parametrize("data", NO_JSON)
def test_what_a_library_printed_is_a_line_of_its_process(logs: Logs, data: bytes) -> None:
    logs.write("host-3.log", record("before", 1).encode() + data + b"\n")
    before, printed = logs.folder.tail(everything, 10)
    assert printed.process == "host-3"
    assert printed.message == data.decode("utf-8", "replace")
    assert (printed.level, printed.time) == ("info", before.time)


def test_a_line_that_nests_deeply_is_text(logs: Logs) -> None:
    deep = "[" * 100_000
    logs.write("host-3.log", deep + "\n" + record("after", 1))
    assert logs.tail() == [deep, "after"]


def test_empty_lines_are_none(logs: Logs) -> None:
    logs.write("p.log", "\n  \n" + record("a") + "\n")
    assert logs.tail() == ["a"]


def test_a_line_that_is_being_written_is_not_read_yet(logs: Logs) -> None:
    logs.write("p.log", record("a", 1) + record("b", 2)[:20])
    assert logs.tail() == ["a"]
    logs.write("p.log", record("b", 2)[20:])
    assert logs.tail() == ["a", "b"]


def test_of_a_large_log_the_end_is_read_and_whole_lines_of_it(logs: Logs) -> None:
    text = "".join(record(f"{n:06} " + "x" * 1000, n % 3000) for n in range(6000))
    assert len(text) > TAIL_BYTES + 100_000
    logs.write("p.log", text)
    found = logs.folder.tail(everything, 10_000)
    assert len(found) < 6000
    assert {line.message[:6].isdigit() and len(line.message) for line in found} == {1007}


class Follower:
    """Reads a folder as it grows."""

    def __init__(self, lines: AsyncIterator[LogLine]):
        self._lines = lines
        self._next: asyncio.Task[LogLine] | None = None

    async def begin(self) -> None:
        """Lets it look at what is there already."""
        self._next = asyncio.ensure_future(anext(self._lines))
        await asyncio.sleep(0.05)

    async def line(self) -> str:
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._lines))
        line = await asyncio.wait_for(self._next, 2)
        self._next = None
        return line.message

    async def end(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)


@pytest.fixture
async def follow(logs: Logs) -> AsyncIterator[Callable[[], object]]:
    followers: list[Follower] = []
    async with aclosing(logs.folder.follow(everything)) as lines:

        async def begin() -> Follower:
            followers.append(Follower(lines))
            await followers[-1].begin()
            return followers[-1]

        yield begin
        for follower in followers:
            await follower.end()


Follow = Callable[[], object]


async def test_only_what_comes_after_is_followed(logs: Logs, follow: Follow) -> None:
    logs.write("p.log", record("before"))
    follower = await follow()
    logs.write("p.log", record("after", 1) + record("next", 2))
    assert [await follower.line() for _ in range(2)] == ["after", "next"]


async def test_a_process_that_is_new_is_followed(logs: Logs, follow: Follow) -> None:
    follower = await follow()
    logs.write("new.log", record("hello"))
    assert await follower.line() == "hello"


async def test_half_a_line_is_followed_when_it_is_whole(logs: Logs, follow: Follow) -> None:
    follower = await follow()
    logs.write("p.log", record("one")[:15])
    await asyncio.sleep(0.3)
    logs.write("p.log", record("one")[15:])
    assert await follower.line() == "one"


async def test_a_rotation_is_followed(logs: Logs, follow: Follow) -> None:
    logs.write("p.log", "".join(record("before", n) for n in range(20)))
    follower = await follow()
    (logs.path / "p.log").replace(logs.path / "p.log.1")
    logs.write("p.log", record("after"))
    assert await follower.line() == "after"


async def test_what_was_written_just_before_a_rotation_is_followed(
    logs: Logs, follow: Follow
) -> None:
    logs.write("p.log", "".join(record("before", n) for n in range(20)))
    follower = await follow()
    logs.write("p.log", record("last of the old", 30))
    (logs.path / "p.log").replace(logs.path / "p.log.1")
    logs.write("p.log", record("first of the new", 31))
    assert [await follower.line() for _ in range(2)] == ["last of the old", "first of the new"]


async def test_a_rotated_log_that_has_outgrown_the_old_one_is_read_from_its_start(
    logs: Logs, follow: Follow
) -> None:
    logs.write("p.log", record("before"))
    follower = await follow()
    (logs.path / "p.log").replace(logs.path / "p.log.1")
    logs.write("p.log", record("first", 1) + record("second", 2) + record("third", 3))
    assert [await follower.line() for _ in range(3)] == ["first", "second", "third"]


async def test_what_the_supervisor_writes_is_read(logs: Logs, follow: Follow) -> None:
    follower = await follow()
    log = LogFile(logs.path / "host-1.log")
    log.write(record("from the supervisor").rstrip().encode())
    log.close()
    assert await follower.line() == "from the supervisor"
