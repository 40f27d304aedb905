"""Who yields to whom, on real threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux's SCHED_IDLE")

ENGINE = """
import os, threading, time
from maas.runtimes.language.priority import leave_the_processor, recall_idlers, threads

found = {}

def compute():
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    rest("computes")

def rest(name="rests"):
    found[name] = threading.get_native_id()
    done.wait()

def engine():
    leave_the_processor()
    before = threads()
    for work in (compute, rest):
        threading.Thread(target=work).start()
    while len(found) < 2:
        time.sleep(0.01)
    recall_idlers(before)
    found["engine"] = threading.get_native_id()
    names = {os.SCHED_IDLE: "idle", os.SCHED_BATCH: "batch", os.SCHED_OTHER: "other"}
    for name, thread in sorted(found.items()):
        print(name, names[os.sched_getscheduler(thread)])
    done.set()

os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
done = threading.Event()
threading.Thread(target=engine).start()
"""


def test_threads_that_compute_stay_idle_and_others_are_recalled() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENGINE], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["computes idle", "engine idle", "rests batch"]
