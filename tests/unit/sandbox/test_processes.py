from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from maas.sandbox import sandbox_environment

NUMBERS = """
x86 = os.uname().machine == "x86_64"
CLONE, CLONE3 = (56 if x86 else 220), 435
PTRACE, READV = (101, 310) if x86 else (117, 270)
UNSHARE, KEYCTL = (272, 250) if x86 else (97, 219)
TGKILL, TKILL, SIGQUEUE = (234, 200, 129) if x86 else (131, 130, 138)
SET_AFFINITY = 203 if x86 else 122
parent = os.getppid()
"""


def test_nothing_is_started(child):
    tried = child.tries(
        NUMBERS
        + """
import multiprocessing, subprocess
attempt("fork", os.fork)
attempt("subprocess", lambda: subprocess.run(["true"]))
attempt("shell", lambda: subprocess.run("true", shell=True))
attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
attempt("clone", lambda: syscall(CLONE, 17, 0, 0, 0, 0))
attempt("namespace", lambda: syscall(CLONE, 17 | 0x10000000, 0, 0, 0, 0))
if x86:
    attempt("vfork", lambda: syscall(58))
    attempt("x32", lambda: syscall(0x40000000 | 56, 17, 0, 0, 0, 0))
tried["pipe"] = "EPERM" if os.system("true") else "done"
"""
    )
    assert set(tried.values()) == {"EPERM"}


def test_the_call_a_filter_cannot_read_is_unknown(child):
    arguments = "(ctypes.c_ulonglong * 11)(0)"
    tried = child.tries(NUMBERS + f"attempt('clone3', lambda: syscall(CLONE3, {arguments}, 88))")
    assert tried == {"clone3": "ENOSYS"}


def test_a_fork_bomb_is_one_process(child):
    code = """
for _ in range(10_000):
    attempt("fork", os.fork)
"""
    assert child.tries(code) == {"fork": "EPERM"}


def test_threads_run(child):
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    tried["sum"] = str(sum(pool.map(abs, range(-100, 0))))
"""
    assert child.tries(code) == {"sum": "5050"}


def test_threads_are_bound_too(child):
    code = """
import threading
def run():
    attempt("read", lambda: open(secret).read())
    attempt("socket", socket.socket)
    attempt("fork", os.fork)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    assert child.tries(code) == {"read": "EACCES", "socket": "EPERM", "fork": "EPERM"}


def test_other_processes_are_left_alone(child):
    before = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0))
    tried = child.tries(
        NUMBERS
        + """
import fcntl, resource
attempt("kill", lambda: os.kill(parent, 0))
attempt("kill all", lambda: os.kill(-1, 0))
attempt("group", lambda: os.killpg(os.getpgid(parent), 0))
attempt("tgkill", lambda: syscall(TGKILL, parent, parent, 0))
attempt("tkill", lambda: syscall(TKILL, parent, 0))
attempt("sigqueue", lambda: syscall(SIGQUEUE, parent, 10, bytes(128)))
attempt("pidfd", lambda: syscall(434, parent, 0))
attempt("ptrace", lambda: syscall(PTRACE, 16, parent, 0, 0))
attempt("memory", lambda: syscall(READV, parent, 0, 0, 0, 0, 0))
attempt("limits", lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (0, 0)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, parent, 19))
attempt("user's", lambda: os.setpriority(os.PRIO_USER, 0, 19))
attempt("affinity", lambda: syscall(SET_AFFINITY, parent, 8, bytes(8)))
attempt("owner", lambda: fcntl.fcntl(0, fcntl.F_SETOWN, parent))
"""
    )
    assert set(tried.values()) == {"EPERM"}
    assert (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)) == before


def test_it_may_end_itself(child):
    assert child.run("os.abort()").returncode == -signal.SIGABRT
    assert child.run("os.kill(os.getpid(), 9)").returncode == -signal.SIGKILL
    assert child.run("ctypes.string_at(0)").returncode == -signal.SIGSEGV


def test_the_kernels_wide_doors_are_shut(child):
    tried = child.tries(
        NUMBERS
        + """
attempt("io_uring", lambda: syscall(425, 8, bytes(256)))
attempt("bpf", lambda: syscall(321 if x86 else 280, 0, bytes(128), 128))
attempt("userfaultfd", lambda: syscall(323 if x86 else 282, 0))
attempt("keyctl", lambda: syscall(KEYCTL, 0, -3, 1))
attempt("user namespace", lambda: syscall(UNSHARE, 0x10000000))
attempt("mount namespace", lambda: syscall(UNSHARE, 0x00020000))
attempt("perf", lambda: syscall(298 if x86 else 241, bytes(128), 0, -1, -1, 0))
"""
    )
    assert set(tried.values()) == {"EPERM"}


def test_calls_newer_than_the_table_are_unknown(child):
    assert child.tries("attempt('new', lambda: syscall(1000))") == {"new": "ENOSYS"}


def test_privileges_do_not_come_back(child):
    code = """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
for name in ("CapEff", "CapPrm", "CapInh", "NoNewPrivs", "Seccomp"):
    tried[name] = status[name].strip()
"""
    none = "0" * 16
    assert child.tries(code) == {
        "CapEff": none, "CapPrm": none, "CapInh": none, "NoNewPrivs": "1", "Seccomp": "2",
    }  # fmt: skip


def test_processor_time_ends(child):
    done = child.run("while True: pass", cpu_s=1)
    assert done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_it_does_not_outlive_its_parent(tmp_path: Path):
    code = f"""
import ctypes, subprocess, sys, time
inner = '''
import ctypes, os, sys, time
from maas.sandbox import Confinement, confine
confine(Confinement((), ({str(tmp_path)!r},), 0, 1 << 20))
print(ctypes.CDLL(None).prctl(1, 0, 0, 0, 0), os.getpid(), flush=True)
time.sleep(600)
'''
subprocess.run([sys.executable, "-P", "-s", "-c", inner])
"""
    environment = sandbox_environment(os.environ, str(tmp_path))
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    refused, pid = parent.stdout.readline().split()
    assert refused == "-1"  # it may not take the signal back
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(200):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("it still runs")


def test_it_is_not_entered_with_threads_running(child):
    before = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
    done = child.run("", before=before)
    assert done.returncode != 0
    assert "with threads running" in done.stderr
