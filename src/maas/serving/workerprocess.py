"""A worker's process, seen from its host: started, watched, and ended.

```
Popen ─▶ watch: has it ended? is it within its bounds? ─▶ reason, `ended`
```
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.sandbox import (
    Confinement,
    folder_bytes,
    how_it_ended,
    sandbox_environment,
    unlinked_bytes,
    usage_of,
)
from maas.sandbox.tree import remove_tree
from maas.serving.workeroutput import WorkerOutput

MIB = 1 << 20
TICK_S = 0.1
TICKS_PER_LOOK = 10
"""A folder is measured at every tenth look at memory and threads."""
GOODBYE_S = 5.0
"""How long it may take to end once its connection is closed."""
LAST_WORDS_S = 1.0


class Bounds(Struct, frozen=True):
    """Past any of these it is killed.

    Args:
        memory_bytes: resident.
        threads: running at once.
        folder_bytes: in its temporary folder, also the largest file it may write.
    """

    memory_bytes: int
    threads: int
    folder_bytes: int = 1 << 30


class WorkerProcess:
    """Starts a worker. Call it on a thread that lives as long as the worker shall.

    Args:
        read: files and folders of the model.
        scratch: a folder of the host's, in which the worker's own is made.
        threads: threads that numeric libraries may use.
        bounds: for the watchdog.
        model: `name:version`, for the log.
    """

    def __init__(
        self, read: tuple[str, ...], scratch: Path, threads: int, bounds: Bounds, model: str
    ):
        self._bounds = bounds
        self._lock = threading.Lock()
        self._lost: Callable[[str], None] | None = None
        self._why = ""
        self._over = False
        self.reason = ""
        """How it ended; empty until it has."""
        self.ended = threading.Event()
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=scratch))
        confinement = Confinement(read, (str(self._folder),), 0, bounds.folder_bytes)
        self.socket, theirs = socket.socketpair()
        output, written = os.pipe()
        try:
            self._child = subprocess.Popen(
                # -P, -s: neither the folder it runs in nor the user's own is searched for modules.
                [
                    *(sys.executable, "-P", "-s", "-m", "maas.worker"),
                    *("--socket", str(theirs.fileno())),
                    *("--confinement", msgspec.json.encode(confinement).decode()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                cwd=self._folder,
                env=sandbox_environment(os.environ, str(self._folder), threads),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(written)
        self.pid = self._child.pid
        self._output = WorkerOutput(output, model)
        threading.Thread(target=self._watch, name=f"{model} watch", daemon=True).start()

    @property
    def memory_bytes(self) -> int:
        """What it holds now."""
        return usage_of(self.pid).memory_bytes

    def on_death(self, lost: Callable[[str], None]) -> None:
        """Has a function called with the reason when it ends by itself, or now if it has."""
        with self._lock:
            self._lost = lost
            over = self._over
        if over:
            lost(self.reason)

    def kill(self, why: str) -> None:
        """Ends it at once; the reason begins with `why`."""
        self._why = self._why or why
        self._child.kill()

    def close(self) -> None:
        """Waits until it ends, now that its connection is closed; a slow one is killed."""
        with self._lock:
            self._lost = None
        if not self.ended.wait(GOODBYE_S):
            self._child.kill()
            self.ended.wait()

    def _watch(self) -> None:
        looks = 0
        while True:
            try:
                code = self._child.wait(TICK_S)
                break
            except subprocess.TimeoutExpired:
                looks += 1
                excess = self._excess(measure=looks % TICKS_PER_LOOK == 0)
                if excess:
                    self.kill(excess)
        # Now, not after the clean-up: whoever waits for an answer may lose patience meanwhile.
        how = self._why or how_it_ended(code)
        self._output.join(LAST_WORDS_S)
        remove_tree(self._folder)
        last = self._output.last_line
        with self._lock:
            self.reason = f"{how}; its last line was: {last}" if last else how
            self._over = True
            lost = self._lost
        # Only then is anybody told who waits for an answer: a host that ends here has not answered,
        # and so the call is made again.
        if lost is not None:
            lost(self.reason)
        self.ended.set()

    def _excess(self, *, measure: bool) -> str:
        """Which bound it has passed, and what to do about it; empty where none."""
        used = usage_of(self.pid)
        bounds = self._bounds
        if used.memory_bytes > bounds.memory_bytes:
            return (
                f"it took more than {bounds.memory_bytes // MIB} MiB of memory: "
                "raise serving.worker_bytes if it needs them"
            )
        if used.threads > bounds.threads:
            return (
                f"it started more than {bounds.threads} threads: "
                "raise serving.worker_threads if it needs them"
            )
        if measure and folder_bytes(self._folder) + unlinked_bytes(self.pid) > bounds.folder_bytes:
            return (
                f"it wrote more than {bounds.folder_bytes // MIB} MiB of temporary files and "
                "shared memory"
            )
        return ""
