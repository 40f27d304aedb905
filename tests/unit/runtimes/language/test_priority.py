"""Who yields to whom, on real threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux's SCHED_IDLE")

HEAD = """
import _thread, hashlib, logging, os, subprocess, sys, threading, time
from maas.runtimes.language import priority

logging.basicConfig(format="%(message)s", stream=sys.stdout)
found, done = {}, threading.Event()
names = {os.SCHED_IDLE: "idle", os.SCHED_BATCH: "batch", os.SCHED_OTHER: "other"}

def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def told(thread):
    return names[os.sched_getscheduler(thread)]

def run(engine):
    thread = threading.Thread(target=engine)
    thread.start()
    thread.join()

def start(work, *arguments):
    # A thread that Python's own bookkeeping does not know, as those of a library.
    _thread.start_new_thread(work, arguments)
"""

ENGINE = """
def worker(name, loading, answering):
    found[name] = threading.get_native_id()
    compute(loading)
    loaded.wait()
    compute(answering)
    at_rest.release()
    done.wait()

def engine():
    found["engine"] = threading.get_native_id()
    yielding = priority.Yielding()
    start(worker, "computes", 0, 0.1)
    start(worker, "loads", 0.1, 0)
    start(worker, "rests", 0, 0)
    python = threading.Thread(target=worker, args=("tokenizes", 0, 0.1))
    python.start()
    compute(0.3)
    yielding.opened()
    loaded.set()
    for _ in range(5):
        at_rest.acquire()
    compute(ANSWERING)
    yielding.begin()
    for name, thread in sorted(found.items()):
        print(name, told(thread))
    done.set()
    yielding.close()

os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
loaded, at_rest = threading.Event(), threading.Semaphore(0)
start(worker, "another's", 0, 0.1)
while not found:
    time.sleep(0.001)
run(engine)
"""

LATER = """
priority.LOOK_S = 0.2

def worker():
    found["worker"] = threading.get_native_id()
    begun.wait()
    while not done.is_set():
        compute(0.01)

def engine():
    yielding = priority.Yielding()
    start(worker)
    while not found:
        time.sleep(0.001)
    yielding.opened()
    compute(0.1)
    yielding.begin()
    print(told(found["worker"]))
    begun.set()
    until = time.monotonic() + 60
    while told(found["worker"]) != "idle" and time.monotonic() < until:
        time.sleep(0.01)
    print(told(found["worker"]))
    done.set()
    yielding.close()

os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
begun = threading.Event()
run(engine)
"""

STARVED = """
priority.LOOK_S, priority.TURN_S = 0.5, 0.5
text = bytes(10 << 20)

def engine():
    yielding = priority.Yielding()
    yielding.opened()
    compute(0.01)
    yielding.begin()
    found["engine"] = threading.get_native_id()
    while not done.is_set():
        hashlib.sha256(text)  # without the interpreter's lock
    yielding.close()

def wait_for(name, seconds):
    until = time.monotonic() + seconds
    while told(found["engine"]) != name and time.monotonic() < until:
        time.sleep(0.01)
    print(told(found["engine"]))

command = [sys.executable, "-c", "while True: pass"]
others = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)]
if not MAY and os.geteuid() == 0:
    os.seteuid(65534)
thread = threading.Thread(target=engine)
thread.start()
while not found:
    time.sleep(0.01)
wait_for("idle", 0)
wait_for("other", WAIT_S)
wait_for("idle", WAIT_S)
for each in others:
    each.kill()
    each.wait()
done.set()
thread.join()
"""


def may_come_back() -> bool:
    """Whether a thread may leave SCHED_IDLE again; of a root in a container it is not certain."""
    return "may" in printed(
        "import os\n"
        "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"
        "try:\n    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))\n"
        "    print('may')\n"
        "except PermissionError:\n    print('may not')\n"
    )


def printed(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(("answering", "engine"), [(0.1, "idle"), (0, "batch")])
def test_threads_that_answer_yield_and_others_do_not(answering: float, engine: str) -> None:
    assert printed(HEAD + f"ANSWERING = {answering}" + ENGINE) == [
        "another's batch",
        "computes idle",
        f"engine {engine}",
        "loads batch",
        "rests batch",
        "tokenizes batch",
    ]


def test_a_thread_that_comes_to_compute_yields_too() -> None:
    before, *_, after = printed(HEAD + LATER)  # on a busy machine it starves meanwhile, and says so
    assert (before, after) == ("batch", "idle")


@pytest.mark.skipif(not may_come_back(), reason="CAP_SYS_NICE, or RLIMIT_NICE of 20")
def test_threads_that_starve_are_given_a_turn_now_and_then() -> None:
    before, warning, turn, after = printed(f"{HEAD}MAY, WAIT_S = True, 60{STARVED}")
    assert (before, turn, after) == ("idle", "other", "idle")
    assert "less than a tenth" in warning
    assert "does not yield" in warning


def test_whoever_may_not_take_it_back_is_told_the_cure() -> None:
    lines = printed(f"{HEAD}MAY, WAIT_S = False, 8{STARVED}")
    [warning] = [line for line in lines if line not in ("idle", "other", "batch")]
    assert "set generation.yielding to false" in warning
    assert "other" not in lines
