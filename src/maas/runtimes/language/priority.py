"""An engine of language models keeps every core busy; whatever else wants one goes first.

    Yielding() ─▶ the engine is opened ─▶ opened() ─▶ its first answer ─▶ begin() ─▶ the eye
                                                                          │           │ starving?
                    threads that computed in between: SCHED_IDLE ◀────────┴───────────┘ a turn

Linux's SCHED_IDLE: a thread that wakes up takes the core from it at once, where with `nice 19` it
may wait for the rest of a slice. On an otherwise idle machine it costs nothing. Threads of the
engine that do not compute are left as they are: one that takes a token from those that do, and
wakes when they are done, would wait milliseconds for a core on which they only spin.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

log = logging.getLogger("maas.language")

_TASKS = Path("/proc/self/task")
BUSY = 0.1
"""Of the processor time that the busiest thread took: those that took as much compute, too."""
LOOK_S = 1.0
"""How often the eye looks."""
STARVING = 9.0
"""Time that threads waited for a core, to the time they had one."""
TURN_S = 4.0
"""How long they do not yield once they have starved."""


def threads() -> set[int]:
    """The threads of this process; none where that cannot be told."""
    if not _TASKS.is_dir():
        return set()
    return {int(each.name) for each in _TASKS.iterdir()}


class Yielding:
    """The threads of one engine that leave the processor, and an eye on what is left for them.

    Made, and told of what happens, on the thread that opens the engine and runs it. Where the
    kernel does not know SCHED_IDLE, nothing changes. Anybody may yield; to take that back for a
    turn wants CAP_SYS_NICE or a RLIMIT_NICE of 20 (`sched(7)`).
    """

    def __init__(self) -> None:
        self._before = threads()
        self._took: dict[int, int] = {}
        self._yielding: list[int] = []
        self._begun = not hasattr(os, "SCHED_IDLE")
        self._over = threading.Event()

    def opened(self) -> None:
        """Notes what each thread has computed so far: reading weights is no answering."""
        self._took = {thread: _times(thread)[0] for thread in self._ours()}

    def begin(self) -> None:
        """Has those that have computed since run only where nothing else wants to; once."""
        if self._begun:
            return
        self._begun = True
        took = {each: _times(each)[0] - self._took.get(each, 0) for each in self._ours()}
        most = max(took.values())
        self._yielding = [thread for thread, time in took.items() if time >= BUSY * most]
        usual = os.sched_getscheduler(0)
        # Made before they yield: a thread has the priority of its maker.
        eye = threading.Thread(target=self._look, args=(usual,), name="yielding-eye", daemon=True)
        eye.start()
        self._schedule(os.SCHED_IDLE)

    def close(self) -> None:
        """Ends the eye."""
        self._over.set()

    def _ours(self) -> set[int]:
        return threads() - self._before | {threading.get_native_id()}

    def _look(self, usual: int) -> None:
        told = False
        ran, waited = self._sums()
        while not self._over.wait(LOOK_S):
            (ran_before, waited_before), (ran, waited) = (ran, waited), self._sums()
            waits = waited - waited_before
            if waits < LOOK_S * 1e9 / 2 or waits < STARVING * (ran - ran_before):
                continue
            taken = self._schedule(usual)
            if not told:
                told = True
                log.warning(
                    "everything else leaves the engine less than a tenth of the time it wants: %s",
                    f"for {TURN_S:g} s at a time it does not yield"
                    if taken
                    else "set generation.yielding to false, or allow RLIMIT_NICE 20 (LimitNICE=+0 "
                    "in systemd's units)",
                )
            if not taken:
                return
            self._over.wait(TURN_S)
            self._schedule(os.SCHED_IDLE)
            ran, waited = self._sums()

    def _sums(self) -> tuple[int, int]:
        times = [_times(thread) for thread in self._yielding]
        return sum(ran for ran, _ in times), sum(waited for _, waited in times)

    def _schedule(self, policy: int) -> bool:
        """Whether it is allowed."""
        for thread in self._yielding:
            try:
                os.sched_setscheduler(thread, policy, os.sched_param(0))
            except ProcessLookupError:
                continue
            except PermissionError:
                return False
        return True


def _times(thread: int) -> tuple[int, int]:
    """Nanoseconds that a thread ran, and waited for a core; 0 where that cannot be told."""
    try:
        ran, waited, _ = (_TASKS / f"{thread}/schedstat").read_text().split()
        return int(ran), int(waited)
    except (OSError, ValueError):
        return 0, 0
