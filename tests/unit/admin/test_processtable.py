from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from maas.admin.processtable import ProcessTable, usage
from maas.core.identity import ServableId
from maas.serving.manager import Manager
from maas.serving.planning import Catalogue
from maas.serving.versions import HostEntry
from maas.settings import ServingSettings

STARTED = "2026-01-01T00:00:00Z"
CHILD = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n\
print('busy', flush=True); input()"


def manager(run: Path) -> Manager:
    catalogue = Catalogue(lambda: (), lambda name, version: None)
    return Manager(catalogue, ServingSettings(), run, "e", lambda _: None, lambda: None)


def test_a_process_is_measured() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        memory, cpu_s = usage(child.pid)
        assert 1 << 20 < memory < 1 << 30
        assert 0.1 < cpu_s < 60
        child.kill()
    assert usage(child.pid) == (0, 0.0)


def test_one_that_has_ended_and_is_not_reaped_holds_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert usage(child.pid)[0] == 0
    child.wait()


def test_a_process_may_call_itself_anything(tmp_path: Path) -> None:
    """The second field of `/proc/PID/stat` is its name, which may hold `)` and spaces."""
    program = tmp_path / "a) R 1 (b c"
    program.symlink_to(sys.executable)
    code = "print('up', flush=True); input()"
    child = subprocess.Popen(
        [str(program), "-S", "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={"PYTHONHOME": sys.base_prefix},
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        assert ")" in Path(f"/proc/{child.pid}/comm").read_text()
        assert usage(child.pid)[0] > 1 << 20
        child.kill()


def test_every_process_is_listed_with_what_it_holds(tmp_path: Path) -> None:
    found = manager(tmp_path)
    found.hosts["host-1"] = HostEntry(
        "host-1", "s", False, holds={ServableId("b", 1), ServableId("a", 2)},
        last_exit="killed by SIGKILL",
    )  # fmt: skip
    running = {
        "control": {
            "id": "control", "kind": "control", "pid": os.getpid(),
            "started_at": 1767225600.9, "restarts": 0,
        },
        "host-1": {
            "id": "host-1", "kind": "host", "pid": 2**22 + 1,
            "started_at": 1767225600.0, "restarts": 2,
        },
    }  # fmt: skip
    table = ProcessTable(lambda: running, found, os.getppid(), STARTED)
    supervisor, control, host = table.records()
    assert (supervisor.id, supervisor.kind, supervisor.pid) == (
        "supervisor",
        "supervisor",
        os.getppid(),
    )
    assert supervisor.started_at == STARTED
    assert (control.id, control.state, control.models) == ("control", "running", ())
    assert control.memory_bytes > 1 << 20
    assert control.started_at == STARTED
    assert (host.models, host.restarts, host.reason) == (("a:2", "b:1"), 2, "killed by SIGKILL")
    assert (host.state, host.memory_bytes) == ("ended", 0)


def test_a_hosts_worker_is_a_part_of_it(tmp_path: Path) -> None:
    code = "import subprocess, sys; held = bytearray(1 << 26); print('up', flush=True); input()"
    started = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {code!r}])"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", started], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    running = {
        kind: {"id": kind, "kind": kind, "pid": child.pid, "started_at": 0.0, "restarts": 0}
        for kind in ("host", "control")
    }
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        table = ProcessTable(lambda: running, manager(tmp_path), os.getppid(), STARTED)
        _, host, control = table.records()
        child.communicate(b"\n")
    assert host.memory_bytes > control.memory_bytes + (1 << 26)
