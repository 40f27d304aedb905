from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import datetime

import pytest

from maas.telemetry.logs import JsonLines


def line(
    message: str, *args: object, level: int = logging.INFO, **extra: object
) -> dict[str, object]:
    record = logging.LogRecord("maas.test", level, "test.py", 1, message, args, None)
    record.__dict__.update(extra)
    text = JsonLines("host-1").format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_a_record_is_one_json_object() -> None:
    found = line("loading %s", "iris:1")
    assert set(found) == {"time", "level", "process", "logger", "message"}
    assert found["message"] == "loading iris:1"
    assert (found["level"], found["process"], found["logger"]) == ("info", "host-1", "maas.test")
    at = datetime.fromisoformat(str(found["time"]))
    assert at.utcoffset() is not None
    assert at.utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("level", "name"),
    [(10, "debug"), (20, "info"), (30, "warning"), (40, "error"), (50, "critical")],
)
def test_levels_have_their_names(level: int, name: str) -> None:
    assert line("x", level=level)["level"] == name


def test_what_it_is_about_stands_beside_it() -> None:
    found = line("x", model="iris:1", request_id="r-1", other="no")
    assert (found["model"], found["request_id"]) == ("iris:1", "r-1")
    assert "other" not in found


@pytest.mark.parametrize("message", ["a\nb", '"quoted"', "模型", "\x00\x1b[31m", "\u2028", "100%"])
def test_any_text_stays_one_line(message: str) -> None:
    assert line(message)["message"] == message


def test_text_is_written_as_it_is() -> None:
    record = logging.LogRecord("maas", 20, "", 1, "模型", (), None)
    assert "模型" in JsonLines("p").format(record)


def test_an_exception_brings_its_trace() -> None:
    try:
        raise ZeroDivisionError("no")
    except ZeroDivisionError:
        record = logging.LogRecord("maas", 40, "", 1, "failed", (), sys.exc_info())
    found = json.loads(JsonLines("p").format(record))
    assert found["message"] == "failed"
    assert "ZeroDivisionError: no" in found["exception"]
    assert "test_an_exception_brings_its_trace" in found["exception"]


PROGRAM = """
import logging, threading
from maas.telemetry.logs import configure_logging
configure_logging("host-7")
logging.getLogger("maas.host").info("good %s", "\\ud800")
logging.getLogger("maas.host").debug("not this")
logging.getLogger("httpx").info("nor this")
logging.getLogger("httpx").warning("but this")
thread = threading.Thread(target=lambda: 1 / 0, name="batcher")
thread.start()
thread.join()
"""


def test_a_process_writes_json_lines_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    lines = [json.loads(text) for text in done.stderr.splitlines()]
    assert [one["level"] for one in lines] == ["info", "warning", "error"]
    assert {one["process"] for one in lines} == {"host-7"}
    assert lines[0]["message"].startswith("good ")
    assert "batcher" in lines[2]["message"]
    assert "ZeroDivisionError" in lines[2]["exception"]
