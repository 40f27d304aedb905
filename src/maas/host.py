"""A host process: where models live.

```
plan ─▶ Loader ─▶ Batcher (one per version, with its thread) ◀─ frames ─ HostSocket ◀─ ingresses
           ├─ worker, for a version that can carry code: a process of its own, in the sandbox
           └─ Ready, Failed, Unloaded, Stats ─▶ control
```
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from maas.core.layout import CONTROL_SOCKET
from maas.core.ports import Runtime
from maas.runtimes.plugins import load_runtimes
from maas.runtimes.upstream.runtime import UpstreamRuntime
from maas.sandbox.tree import remove_tree
from maas.serving.controlclient import ControlClient
from maas.serving.generating import count_generations
from maas.serving.hostsocket import HostSocket
from maas.serving.loader import Loader
from maas.serving.messages import Ack, Changed, Ending, Hello, Stats
from maas.serving.plan import read_plan
from maas.serving.processes import end_with_parent, read_settings
from maas.telemetry.logs import configure_logging
from maas.telemetry.metrics import Metrics
from maas.telemetry.series import collect

STATS_S = 1.0
SCRATCH = "scratch"
"""The folder of the data folder in which workers have their temporary ones, one for each host."""
WORKER_LOST = 75
"""Exit status where the model's own process has ended."""


def main() -> None:
    """Runs a host: `python -m maas.host --id host-1 --incarnation 1 --settings FILE`."""
    parser = argparse.ArgumentParser(prog="maas.host", description=main.__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--incarnation", type=int, required=True)
    parser.add_argument("--settings", type=Path, required=True)
    arguments = parser.parse_args()
    configure_logging(arguments.id)
    end_with_parent()
    settings = read_settings(arguments.settings)
    run = Path(settings.paths.run)

    metrics = Metrics()
    link = ControlClient(
        run / CONTROL_SOCKET, Hello("host", arguments.id, os.getpid(), arguments.incarnation)
    )

    @functools.cache
    def runtimes() -> dict[str, Runtime]:
        return {**load_runtimes(), "upstream": UpstreamRuntime(settings.upstream)}

    # What a worker of an earlier life left, of which no goodbye was taken.
    scratch = Path(settings.paths.home) / SCRATCH / arguments.id
    remove_tree(scratch)

    def lost(reason: str) -> None:
        """Ends this process with its model's: it is started again, as after any crash."""
        link.say(Ending(arguments.incarnation, reason))
        logging.getLogger("maas.host").warning("the model's process ended (%s)", reason)
        remove_tree(scratch)
        os._exit(WORKER_LOST)

    loader = Loader(
        arguments.id,
        lambda name: runtimes()[name],
        settings.serving,
        settings.generation,
        metrics,
        link.say,
        scratch,
        lost,
    )
    changes: SimpleQueue[Changed] = SimpleQueue()
    plan = read_plan(run)
    if arguments.id not in plan.hosts:
        return  # what it was started for has been deleted meanwhile

    def recount() -> None:
        count_generations(loader.generative(), metrics)
        link.say(Stats(collect(metrics)))

    follow = (loader.say_all, changes.put, recount)
    threading.Thread(target=link.run, args=follow, daemon=True).start()
    loader.follow(plan)
    # Only now is there a socket: a connection to a host means that it has loaded what it could.
    socket = Path(plan.hosts[arguments.id].socket)
    HostSocket(socket, loader.lookup, settings.serving.segment_bytes)
    threading.Thread(target=_say_stats, args=(recount,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: _end(scratch))
    while True:
        changes.get()
        while not changes.empty():
            changes.get()
        plan = read_plan(run)
        loader.follow(plan)
        link.say(Ack(plan.epoch, plan.number, 0))


def _end(scratch: Path) -> None:
    """Ends at once; the kernel ends the worker, of which nothing is to be left."""
    remove_tree(scratch)
    os._exit(0)


def _say_stats(say: Callable[[], None]) -> None:
    while True:
        time.sleep(STATS_S)
        say()


if __name__ == "__main__":
    main()
