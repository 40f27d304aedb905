from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from maas_stub_server import KEY, Seen, Stub, infer_iris

from maas.cli.benchplot import bars, grouped


def answer(seen: Seen) -> tuple[int, Any]:
    rows = json.loads(seen.body)["input_data"]
    return 200, {"label": [0] * len(rows)}


@pytest.fixture
def served(stub: Stub) -> Stub:
    stub.handlers["POST /iris/predict"] = answer
    return stub


SHORT = ("--seconds", "0.3", "--connections", "2")


def test_a_closed_loop_in_words(served: Stub, maas: Any) -> None:
    result = maas("bench", "iris", *SHORT, "--rows", "3")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == f"iris at {served.url}, plain, 3 rows a request"
    assert lines[1] == "closed loop, 2 connections, 0.3 s"
    assert "rows/s" in lines[2]
    assert "p99.9" in lines[3]
    assert lines[4].split() == ["errors", "none"]
    assert "generator" in result.out
    assert "█" in result.out
    assert "\x1b" not in result.out
    bodies = [json.loads(seen.body) for seen in served.seen if seen.path == "/iris/predict"]
    assert {len(body["input_data"]) for body in bodies} == {3}
    assert served.last("POST").headers["authorization"] == f"Bearer {KEY}"


def test_an_open_loop_as_json(served: Stub, maas: Any) -> None:
    result = maas("bench", "iris", *SHORT, "--rate", "50", "--arrivals", "constant", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert (found["loop"], found["arrivals"], found["requests"]) == ("open", "constant", 15)
    assert found["answered"] + sum(found["errors"].values()) == 15
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99"] <= found["latency_ms"]["max"]
    assert found["lateness_ms"]["max"] > 0


def test_rows_of_a_file_in_another_protocol(stub: Stub, maas: Any, tmp_path: Path) -> None:
    stub.handlers["POST /v2/models/iris/versions/2/infer"] = infer_iris
    file = tmp_path / "rows.csv"
    file.write_text("a,b,c,d\n1,2,3,4\n5,6,7,8\n")
    result = maas("bench", "iris:2", *SHORT, "-f", str(file), "--protocol", "oip")
    assert result.code == 0, result.err
    sent = {tuple(json.loads(s.body)["inputs"][0]["data"]) for s in stub.seen if s.body}
    assert sent == {(1, 2, 3, 4), (5, 6, 7, 8)}


def test_what_every_call_would_meet_is_said_once(stub: Stub, maas: Any) -> None:
    stub.fail("POST /iris/predict", 400, "invalid_argument", "input 'x' holds NaN")
    result = maas("bench", "iris", *SHORT)
    assert result.code == 1
    assert result.err.splitlines()[0] == "error: input 'x' holds NaN"
    assert len([path for path in stub.paths() if path == "POST /iris/predict"]) == 1


def test_errors_have_a_line(served: Stub, maas: Any) -> None:
    calls = iter(range(1_000_000))

    def mostly(seen: Seen) -> tuple[int, Any]:
        return answer(seen) if next(calls) % 3 else (429, {"error": "busy"})

    next(calls)  # the first one is looked at before the run
    served.handlers["POST /iris/predict"] = mostly
    assert "429: " in maas("bench", "iris", *SHORT).out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--connections", "0"), "--connections 0"),
        (("--seconds", "0"), "--seconds 0"),
        (("--rate", "-1"), "--rate -1"),
        (("--rows", "0"), "--rows 0"),
        (("--processes", "0"), "--processes 0"),
        (("-f", "/no/such/file"), "/no/such/file"),
        (("--png", "/no/such/folder/a.png"), "in a folder that is there"),
        (("--png", "a.jpg"), "ends in .png"),
        (("--arrivals", "now"), "--arrivals"),
    ],
)
def test_flags_that_are_refused(
    served: Stub, maas: Any, flags: tuple[str, ...], words: str
) -> None:
    result = maas("bench", "iris", *flags)
    assert result.code == 2
    assert words in result.err
    assert "POST /iris/predict" not in served.paths()


def test_a_picture(served: Stub, maas: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "$50.png"
    result = maas("bench", "iris", *SHORT, "--png", str(picture))
    assert result.code == 0, result.err
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in result.out


def test_without_matplotlib_nothing_is_measured(
    served: Stub, maas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def lacking(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    result = maas("bench", "iris", "--png", str(tmp_path / "a.png"))
    assert result.code == 1
    assert "pip install 'maas-server[bench]'" in result.err
    assert "POST /iris/predict" not in served.paths()


def test_ctrl_c_prints_what_was_measured(served: Stub) -> None:
    command = [sys.executable, "-P", "-m", "maas", "bench", "iris", "--seconds", "60"]
    process = subprocess.Popen(
        [*command, "--connections", "2", "--url", served.url],
        env={**os.environ, "MAAS_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    enough = threading.Event()
    calls = iter(range(1_000_000))

    def counting(seen: Seen) -> tuple[int, Any]:
        if next(calls) > 20:
            enough.set()
        return answer(seen)

    served.handlers["POST /iris/predict"] = counting
    assert enough.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "ended early" in out
    assert "latency" in out
    assert err == ""


@pytest.mark.parametrize("width", [10, 40, 80, 400])
def test_bars_fit_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    histogram = [(0.1 * 1.1**number, number * number + 1) for number in range(80)]
    lines = list(bars(histogram, width))
    assert max(map(len, lines)) <= max(min(width, 100), 50)
    assert sum(count for _, _, count in grouped(histogram)) == sum(c for _, c in histogram)
    assert len(lines) == 12
    assert len(list(bars([(1.0, 7)], width))) == 1


def test_a_console_without_blocks_gets_another_sign(served: Stub) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "maas", "bench", "iris", *SHORT, "--url", served.url],
        env={**os.environ, "MAAS_API_KEY": KEY, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"},
        capture_output=True,
        check=True,
    )
    assert b"##" in done.stdout
    assert b"?" not in done.stdout.partition(b"\n\n")[2]
