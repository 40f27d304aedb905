"""`python -m maas.supervisor --settings FILE`: what `maas serve` becomes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

from maas.supervisor.locks import TakenError, check_port, lock_home
from maas.supervisor.server import Supervisor


def main() -> int:
    """Reads the settings, takes the locks and serves; gives the exit status."""
    parser = argparse.ArgumentParser(prog="maas serve")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--then", type=json.loads, default=[])
    arguments = parser.parse_args()
    settings = json.loads(arguments.settings.read_bytes())
    home, run = Path(settings["paths"]["home"]), Path(settings["paths"]["run"])
    server = settings["server"]
    try:
        lock_home(home)
        for host, port in [
            (server["host"], server["port"]),
            *((text.rpartition(":")[0], text.rpartition(":")[2]) for text in server["listen"]),
        ]:
            check_port(host, int(port))
    except (TakenError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if server["batch_scheduling"]:
        schedule_in_batches()
    logs = home / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    control = [sys.executable, "-P", "-m", "maas.control", "--settings", str(arguments.settings)]
    return Supervisor(run, logs, control, arguments.then, server["drain_s"]).serve()


def schedule_in_batches() -> None:
    """Asks the kernel not to let a thread that wakes push aside the one that runs.

    Envoy's thread, Python's and the hosts' wake each other for every request; on a busy core each
    of these wake-ups was a context switch (2.5 a request, 0.3 with this) for work that could wait
    until the running thread had nothing left to do: 21,000 requests a second on one core became
    29,000. An idle core takes a woken thread at once either way. Children inherit the policy.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
