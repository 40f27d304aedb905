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
from typing import NamedTuple

log = logging.getLogger("maas.language")

_TASKS = Path("/proc/self/task")
BUSY = 0.1
"""Of the processor time that the busiest thread took: those that took as much compute, too."""
LATER = 0.5
"""The same for threads that had nothing to do at first, as where there are many cores."""
LOOK_S = 1.0
"""How often the eye looks."""
STARVING = 9.0
"""Time that threads waited for a core, to the time they had one."""
TURN_S = 4.0
"""How long they do not yield once they have starved."""


def _threads() -> set[int]:
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
        self._before = _threads()
        self._took: dict[int, _Times] = {}
        self._yielding: set[int] = set()
        self._begun = not hasattr(os, "SCHED_IDLE")
        self._over = threading.Event()

    def opened(self) -> None:
        """Notes what each thread has computed so far: reading weights is no answering."""
        self._took = _all_times(self._ours())

    def begin(self) -> None:
        """Has those that have computed since run only where nothing else wants to; once."""
        if self._begun:
            return
        self._begun = True
        now = _all_times(self._ours())
        took = {thread: times.ran for thread, times in _since(self._took, now).items()}
        most = max(took.values())
        self._yielding = {thread for thread, ran in took.items() if ran >= BUSY * most}
        usual = os.sched_getscheduler(0)
        # Made before they yield: a thread has the priority of its maker.
        eye = threading.Thread(
            target=self._look, args=(usual, set(now)), name="yielding-eye", daemon=True
        )
        eye.start()
        _schedule(self._yielding, os.SCHED_IDLE)

    def close(self) -> None:
        """Ends the eye."""
        self._over.set()

    def _ours(self) -> set[int]:
        """The engine's threads: this one, and those made since that are not Python's."""
        others = {thread.native_id for thread in threading.enumerate()}
        return (_threads() - self._before - others) | {threading.get_native_id()}

    def _look(self, usual: int, ours: set[int]) -> None:
        told = False
        now = _all_times(ours)
        while not self._over.wait(LOOK_S):
            before, now = now, _all_times(ours)
            took = _since(before, now)
            self._also(took)
            ran = sum(took[thread].ran for thread in self._yielding)
            waited = sum(took[thread].waited for thread in self._yielding)
            if waited < LOOK_S * 1e9 / 2 or waited < STARVING * ran:
                continue
            taken = _schedule(self._yielding, usual)
            if not told:
                told = True
                log.warning(
                    "everything else leaves the engine less than a tenth of the time it wants: %s",
                    f"for {TURN_S:g} s at a time it does not yield"
                    if taken
                    else "set generation.yielding to false, or allow RLIMIT_NICE 20 (LimitNICE=+0 "
                    "in systemd's units)",
                )
            if taken:
                self._over.wait(TURN_S)
                _schedule(self._yielding, os.SCHED_IDLE)
                now = _all_times(ours)

    def _also(self, took: dict[int, _Times]) -> None:
        """Has threads yield that have come to compute as the others do."""
        most = max(times.ran for times in took.values())
        if most < LOOK_S * 1e9 * BUSY:
            return
        more = {thread for thread, times in took.items() if times.ran >= LATER * most}
        more -= self._yielding
        self._yielding |= more
        _schedule(more, os.SCHED_IDLE)


class _Times(NamedTuple):
    """Nanoseconds that a thread ran, and waited for a core."""

    ran: int
    waited: int


def _times(thread: int) -> _Times:
    """Of a thread since its beginning; 0 where that cannot be told."""
    try:
        ran, waited, _ = (_TASKS / f"{thread}/schedstat").read_text().split()
        return _Times(int(ran), int(waited))
    except (OSError, ValueError):
        return _Times(0, 0)


def _all_times(these: set[int]) -> dict[int, _Times]:
    return {thread: _times(thread) for thread in these}


def _since(before: dict[int, _Times], now: dict[int, _Times]) -> dict[int, _Times]:
    """What was added; all of it for a thread that was not there. One that has ended has none."""
    none = _Times(0, 0)
    return {
        thread: _Times(
            *(max(0, new - old) for new, old in zip(times, before.get(thread, none), strict=True))
        )
        for thread, times in now.items()
    }


def _schedule(these: set[int], policy: int) -> bool:
    """Whether it is allowed."""
    for thread in these & _threads():  # the number of one that has ended may be another's by now
        try:
            os.sched_setscheduler(thread, policy, os.sched_param(0))
        except ProcessLookupError:
            continue
        except OSError:  # forbidden, or unknown to what stands in for a kernel
            return False
    return True
