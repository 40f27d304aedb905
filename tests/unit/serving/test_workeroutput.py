from __future__ import annotations

import logging
import os

import pytest

from maas.serving.workeroutput import BURST, LINE, RATE, WorkerOutput


class Printed:
    """A worker's output whose time stands still until it is moved."""

    def __init__(self) -> None:
        read, self.write = os.pipe()
        self.now = 0.0
        self.output = WorkerOutput(read, "m:1", lambda: self.now)

    def says(self, *texts: bytes) -> WorkerOutput:
        """Prints all that and ends."""
        for text in texts:
            while text:
                text = text[os.write(self.write, text) :]
        os.close(self.write)
        self.output.join(10)
        return self.output


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "maas.model")
    return lambda: [record.getMessage() for record in caplog.records]


def test_lines_are_logged_as_they_were_printed(lines):
    output = Printed().says("一\ntwo\n\n  thr".encode(), b"ee\nlast")
    assert lines() == ["一", "two", "  three", "last"]
    assert output.last_line == "last"


def test_nothing(lines):
    assert Printed().says().last_line == ""
    assert lines() == []


def test_bytes_that_are_no_text(lines):
    Printed().says(b"\xff\xfe\n")
    assert lines() == ["\ufffd\ufffd"]


def test_a_line_without_end_is_cut(lines):
    Printed().says(b"x" * 10_000 + b"\n")
    assert [len(line) for line in lines()] == [LINE]


def test_the_last_line_is_one_sentence_without_paths(lines):
    output = Printed().says(b"before\nin /srv/secret/model.py \x1b[31mfailed\x1b[0m" + b"x" * 500)
    assert output.last_line.startswith("in … failedxxx")
    assert len(output.last_line) <= 160


def test_a_flood_is_cut_and_said_so(lines):
    output = Printed().says(b"a line\n" * (BURST // 7 * 20), b"the end\n")
    kept = [line for line in lines() if line == "a line"]
    assert sum(map(len, kept)) <= BURST
    assert [line for line in lines() if "prints too much" in line]
    *_, said = [line for line in lines() if "bytes of its output" in line]
    assert int(said.split(" ")[0]) > BURST
    assert output.last_line == "the end"


def test_after_a_flood_lines_are_logged_again(lines):
    printed = Printed()
    for _ in range(20):
        os.write(printed.write, b"x" * 50_000 + b"\n")
    printed.now = BURST / RATE
    printed.says(b"again\n")
    assert lines()[-1] == "again"


def test_control_codes_are_left_out(lines):
    Printed().says(b"\x1b]0;owned\x07\x1b[2J red\rgreen\tblue\xc2\x9b\n")
    assert lines() == [" ]0;owned  [2J red green\tblue"]
