from __future__ import annotations

import io
import json
import os
import pty
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from maas.supervisor.children import LOG_BYTES, LogFile, how_it_ended, show

LINE = b"x" * 65_535


def test_a_log_keeps_at_most_two_files(tmp_path: Path) -> None:
    path = tmp_path / "host-1.log"
    log = LogFile(path)
    lines = 3 * LOG_BYTES // len(LINE)
    for number in range(lines):
        log.write(b"%06d " % number + LINE)
    log.close()
    assert {file.name for file in tmp_path.iterdir()} == {"host-1.log", "host-1.log.1"}
    kept = [
        int(line[:6])
        for name in ("host-1.log.1", "host-1.log")
        for line in (tmp_path / name).read_bytes().splitlines()
    ]
    assert kept == list(range(kept[0], lines))
    assert all(file.stat().st_size <= LOG_BYTES + 2 * len(LINE) for file in tmp_path.iterdir())


def test_a_log_goes_on_where_an_earlier_process_ended(tmp_path: Path) -> None:
    path = tmp_path / "host-1.log"
    for line in (b"one", b"two"):
        log = LogFile(path)
        log.write(line)
        log.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "host-1.log")
    log.write(b"one")
    assert (tmp_path / "host-1.log").read_bytes() == b"one\n"
    log.close()


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    log = LogFile(Path("/dev/full"))
    for _ in range(3):
        log.write(b"one")
    log.close()


def test_a_rotation_that_fails_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = LogFile(folder / "host-1.log")
    for _ in range(LOG_BYTES // len(LINE) + 1):
        log.write(LINE)
    shutil.rmtree(folder)
    for _ in range(3):
        log.write(LINE)
    folder.mkdir()
    log.write(b"the disk is back")
    log.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-9, "killed by SIGKILL"),
        (-11, "killed by SIGSEGV"),
        (-50, "killed by signal 50"),
    ],
)
def test_an_exit_status_reads_as_people_say_it(code: int, text: str) -> None:
    assert how_it_ended(code) == text


def line(level: str, message: str) -> bytes:
    return json.dumps({"level": level, "message": message}).encode()


def test_in_a_pipe_lines_pass_as_they_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for data in (line("info", "a"), b"\xff\xfe no text", b""):
        show("host-1", data)
    assert capfdbinary.readouterr().err == line("info", "a") + b"\n\xff\xfe no text\n\n"


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Makes stderr a terminal; gives the end that a person looks at."""
    master, slave = pty.openpty()
    stream = io.TextIOWrapper(io.FileIO(slave, "w"), write_through=True)
    with stream, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        yield master
    with suppress(OSError):
        os.close(master)


def test_on_a_terminal_a_person_sees_what_concerns_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        for data in (
            line("info", "loading"), line("warning", "iris:2 did not load"), b"chatter",
            line("error", "it ended"), b"[1, 2]", b"null", b'{"level": 3}', b"\xff", b'"text"',
            json.dumps({"level": "info", "message": "iris:2 imported", "note": True}).encode(),
        ):  # fmt: skip
            show("host-1", data)
        show("host-1", line("critical", "end"))
        seen = ""
        while "critical" not in seen:  # a terminal gives what it has so far
            seen += os.read(screen, 4096).decode().replace("\r\n", "\n")
    assert seen == (
        "warning: host-1: iris:2 did not load\nerror: host-1: it ended\n"
        "iris:2 imported\ncritical: host-1: end\n"
    )


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 50_000], ids=["lists", "objects"])
def test_a_line_that_nests_deeply_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    with terminal(monkeypatch):
        show("host-1", data)


def test_a_terminal_that_went_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        os.close(screen)
        show("host-1", line("error", "nobody reads this"))
