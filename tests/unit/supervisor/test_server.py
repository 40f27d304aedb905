"""A supervisor as a process, with children that are processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., Any]

PATIENT = "import os, signal; signal.signal(15, lambda *_: os._exit(0)); signal.pause()"
STUBBORN = "import signal; signal.signal(15, 1); print('deaf', flush=True)\nwhile 1: signal.pause()"


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-E", "-c", code]


def until(done: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def noted(path: Path, name: str, then: str = "") -> str:
    """Code of a child that writes its name at its start and at SIGTERM."""
    return (
        "import os, signal, time\n"
        f"f = os.open({str(path)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        f"def end(*_):\n    {then or 'pass'}\n    os.write(f, b'{name} ends\\n'); os._exit(0)\n"
        f"signal.signal(15, end)\nos.write(f, b'{name} starts\\n')\nwhile 1: signal.pause()"
    )


def test_control_is_started_first_and_who_connects_learns_what_runs(serve: Serve) -> None:
    server = serve()
    first = server.connect()
    assert first["event"] == "running"
    [control] = first["processes"]
    assert (control["id"], control["kind"], control["restarts"]) == ("control", "control", 0)
    assert alive(control["pid"])
    assert (server.run / "supervisor.sock").stat().st_mode & 0o777 == 0o600
    host = server.start("host-1")
    second = server.connect()
    assert [process["id"] for process in second["processes"]] == ["control", "host-1"]
    assert second["processes"][1] == host


def test_a_child_is_started_with_its_environment(serve: Serve, folder: Path) -> None:
    server = serve()
    server.connect()
    server.start(
        "host-1",
        "import os; print(os.environ['COLOUR'], os.environ['HOME'])",
        env={"COLOUR": "grün"},
    )
    assert server.event()["reason"] == "exit status 0"
    assert server.log("host-1") == f"grün {os.environ['HOME']}\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("pass", "exit status 0"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
    ],
)
def test_how_a_child_ended_is_told(serve: Serve, code: str, reason: str) -> None:
    server = serve()
    server.connect()
    server.start("host-1", code)
    assert server.event() == {"event": "exit", "id": "host-1", "reason": reason, "asked": False}


def test_a_stop_is_asked_for_and_a_kill_is_a_crash(serve: Serve) -> None:
    server = serve()
    server.connect()
    pids = [server.start(name)["pid"] for name in ("host-1", "host-2")]
    until(lambda: all(caught(pid, 15) for pid in pids))
    server.order(op="stop", id="host-1")
    assert server.event() == {
        "event": "exit", "id": "host-1", "reason": "exit status 0", "asked": True
    }  # fmt: skip
    server.order(op="kill", id="host-2")
    assert server.event() == {
        "event": "exit", "id": "host-2", "reason": "killed by SIGKILL", "asked": False
    }  # fmt: skip


def caught(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, so that sending it is not too early."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def test_orders_about_nobody_are_ignored(serve: Serve) -> None:
    server = serve()
    server.connect()
    server.order(op="stop", id="host-9")
    server.order(op="kill", id="host-9")
    assert server.start("host-1")["restarts"] == 0


def test_one_that_runs_is_not_started_twice(serve: Serve) -> None:
    server = serve()
    server.connect()
    first = server.start("host-1")
    server.order(op="start", id="host-1", kind="host", argv=python(PATIENT), env={}, order=2)
    server.start("host-2")
    assert server.connect()["processes"][1] == first


def test_starts_of_the_same_id_are_counted(serve: Serve) -> None:
    server = serve()
    server.connect()
    for turn in range(3):
        assert server.start("host-1", "pass")["restarts"] == turn
        assert server.event()["event"] == "exit"


def test_what_cannot_be_started_is_told_as_an_exit(serve: Serve) -> None:
    server = serve()
    server.connect()
    server.order(op="start", id="host-1", kind="host", argv=["/no/such/program"], env={}, order=2)
    event = server.event()
    assert (event["event"], event["id"], event["asked"]) == ("exit", "host-1", False)
    assert event["reason"].startswith("cannot start")
    assert server.start("host-2")


@pytest.mark.parametrize(
    "data", [b"not json\n", b'{"op": "list"}\n', b"[]\n", b'{"op": "start"}\n']
)
def test_an_order_that_makes_no_sense_does_not_end_the_server(serve: Serve, data: bytes) -> None:
    server = serve()
    server.connect()
    host = server.start("host-1")
    server.send(data)
    server.order(op="kill", id="host-1")
    assert server.event()["id"] == "host-1"
    assert server.process.poll() is None
    assert not alive(host["pid"])


def test_an_order_may_come_in_pieces(serve: Serve) -> None:
    server = serve()
    server.connect()
    server.start("host-1")
    server.send(b'{"op": "ki')
    server.send(b'll", "id": "host-1"}\n')
    assert server.event()["reason"] == "killed by SIGKILL"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_drains_in_order(serve: Serve, folder: Path, number: signal.Signals) -> None:
    notes = folder / "notes"
    server = serve(control=noted(notes, "control"))
    server.connect()
    server.start("host-1", noted(notes, "host", "time.sleep(0.2)"), order=2)
    server.start("ingress-1", noted(notes, "ingress", "time.sleep(0.2)"), order=1)
    until(lambda: notes.exists() and notes.read_text().count("starts") == 3)
    server.signal(number)
    assert server.wait()[0] == 0
    assert notes.read_text().splitlines()[3:] == ["ingress ends", "host ends", "control ends"]
    assert not any(alive(pid) for pid in server.pids)


def test_exits_of_a_drain_are_told_as_asked_for(serve: Serve) -> None:
    server = serve()
    server.connect()
    pid = server.start("ingress-1", order=1)["pid"]
    until(lambda: caught(pid, 15))
    server.signal(signal.SIGTERM)
    assert server.event() == {
        "event": "exit", "id": "ingress-1", "reason": "exit status 0", "asked": True
    }  # fmt: skip
    assert server.wait()[0] == 0


def test_nothing_is_started_during_a_drain(serve: Serve, folder: Path) -> None:
    server = serve(control=noted(folder / "notes", "control"))
    server.connect()
    slow = (
        "import os, signal, time\n"
        "signal.signal(15, lambda *_: (time.sleep(.5), os._exit(0)))\nsignal.pause()"
    )
    pid = server.start("ingress-1", slow, order=1)["pid"]
    until(lambda: caught(pid, 15))
    server.signal(signal.SIGTERM)
    time.sleep(0.2)  # the signal and the order come by different ways
    server.order(op="start", id="late", kind="host", argv=python(PATIENT), env={}, order=2)
    assert server.wait()[0] == 0
    assert not (server.logs / "late.log").exists()


def test_a_second_signal_kills(serve: Serve) -> None:
    server = serve(drain_s=30)
    server.connect()
    pid = server.start("ingress-1", STUBBORN, order=1)["pid"]
    until(lambda: "deaf" in server.log("ingress-1"))
    server.signal(signal.SIGTERM)
    with pytest.raises(Exception, match="timed out"):
        server.process.wait(0.3)
    assert alive(pid)
    server.signal(signal.SIGTERM)
    assert server.wait()[0] == 130
    assert not any(alive(one) for one in server.pids)


@pytest.mark.slow
def test_who_does_not_end_in_time_is_killed(serve: Serve) -> None:
    server = serve(drain_s=0)
    server.connect()
    server.start("ingress-1", STUBBORN, order=1)
    until(lambda: "deaf" in server.log("ingress-1"))
    server.signal(signal.SIGTERM)
    assert server.wait()[0] == 0
    assert not any(alive(pid) for pid in server.pids)


def test_when_control_dies_everything_is_started_again(serve: Serve) -> None:
    server = serve()
    [control] = server.connect()["processes"]
    host = server.start("host-1")
    ingress = server.start("ingress-1", order=1)
    until(lambda: caught(host["pid"], 15) and caught(ingress["pid"], 15))
    os.kill(control["pid"], signal.SIGKILL)
    events = [server.event() for _ in range(3)]
    assert [(event["id"], event["reason"], event["asked"]) for event in events] == [
        ("control", "killed by SIGKILL", False),
        ("ingress-1", "exit status 0", True),
        ("host-1", "exit status 0", True),
    ]
    [again] = [server.event()["process"]]
    assert (again["id"], again["restarts"]) == ("control", 1)
    assert again["pid"] != control["pid"]
    assert not alive(host["pid"])
    assert not alive(ingress["pid"])
    assert [process["id"] for process in server.connect()["processes"]] == ["control"]
    until(lambda: caught(again["pid"], 15))
    server.signal(signal.SIGTERM)
    status, _, err = server.wait()
    assert status == 0
    assert "control ended (killed by SIGKILL); everything is started again" in err


def test_three_deaths_in_a_row_are_enough(serve: Serve) -> None:
    server = serve(control="raise SystemExit('the database is torn')")
    status, out, err = server.wait()
    assert status == 1
    assert out == ""
    assert server.log("control") == "the database is torn\n" * 3
    assert "control ends again and again (exit status 1); giving up" in err


def test_giving_up_ends_the_others_too(serve: Serve, folder: Path) -> None:
    server = serve(control="import time; time.sleep(0.4)")
    server.connect()
    host = server.start("host-1")
    assert server.wait()[0] == 1
    assert not alive(host["pid"])


def test_what_children_write_is_kept_and_passed_on(serve: Serve) -> None:
    server = serve()
    server.connect()
    server.start(
        "host-1",
        "import sys; print('out'); sys.stdout.flush(); sys.stderr.write('err\\nno newline')",
    )
    server.event()
    assert server.log("host-1") == "out\nerr\nno newline\n"
    server.start("host-1", "print('again')")
    server.event()
    assert server.log("host-1").endswith("no newline\nagain\n")
    until(lambda: server.connect()["event"] == "running")
    server.signal(signal.SIGKILL)
    assert "err\nno newline\nagain\n" in server.wait()[2]


def test_a_large_log_is_rotated(serve: Serve) -> None:
    server = serve()
    server.connect()
    code = "import sys\nfor n in range(90): sys.stdout.write(f'{n} ' + 'x' * 100_000 + '\\n')"
    server.process.stderr.close()  # nobody reads it, and that must not matter
    server.start("host-1", code)
    assert server.event()["reason"] == "exit status 0"
    old = (server.logs / "host-1.log.1").read_text().splitlines()
    new = server.log("host-1").splitlines()
    assert [int(line.split()[0]) for line in (*old, *new)] == list(range(90))
    assert len(old) > len(new) > 0
    server.process.stderr = None


def test_children_end_when_it_is_killed(serve: Serve) -> None:
    orphan = (
        "import os, signal, threading\n"
        "signal.signal(15, 1)\n"
        "threading.Thread(target=lambda: (os.read(int(os.environ['MAAS_LIFELINE']), 1), "
        "os._exit(0))).start()\n"
        "print('up', flush=True)\nwhile 1: signal.pause()"
    )
    server = serve(control=orphan)
    server.connect()
    server.start("host-1", orphan)
    server.start("ingress-1", orphan, order=1)
    until(lambda: all("up" in server.log(n) for n in ("control", "host-1", "ingress-1")))
    assert all(alive(pid) for pid in server.pids)
    server.process.kill()
    until(lambda: not any(alive(pid) for pid in server.pids))


def test_the_banner_is_printed_once_when_the_server_is_ready(serve: Serve) -> None:
    server = serve()
    server.connect()
    server.order(op="ready", banner="maas is ready\nsecond line")
    server.order(op="ready", banner="maas is ready again")
    pid = server.start("host-1")["pid"]
    until(lambda: caught(pid, 15))
    server.signal(signal.SIGTERM)
    assert server.wait()[:2] == (0, "maas is ready\nsecond line\n")


def test_a_command_runs_once_the_server_is_ready_and_then_it_says_so(
    serve: Serve, folder: Path
) -> None:
    server = serve(then=python(f"open({str(folder / 'ran')!r}, 'x')"))
    server.connect()
    server.start("host-1")
    assert not (folder / "ran").exists()
    server.order(op="ready", banner="without what it did")
    assert server.event() == {"event": "announce"}
    assert (folder / "ran").exists()
    for banner in ("with what it did", "once more"):
        server.order(op="ready", banner=banner)
    assert server.process.stdout.readline() == b"with what it did\n"
    server.signal(signal.SIGTERM)
    assert server.wait()[0] == 0


def test_a_command_that_fails_ends_the_server_with_its_status(serve: Serve) -> None:
    server = serve(then=python("raise SystemExit(7)"))
    server.connect()
    server.order(op="ready", banner="ready")
    assert server.wait()[:2] == (7, "")
