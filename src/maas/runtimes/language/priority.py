"""An engine of language models keeps every core busy; whatever else wants one goes first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TASKS = Path("/proc/self/task")
BUSY = 0.1
"""Of the processor time that the busiest new thread took: those that took as much compute, too."""


def leave_the_processor() -> None:
    """Lets this thread, and those it makes from now on, run where nothing else wants to.

    Linux's SCHED_IDLE: a thread that wakes up takes the core at once, where with `nice 19` it may
    wait for the rest of a slice. On an otherwise idle machine it costs nothing. Elsewhere, and
    where it is forbidden, nothing changes.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # 0: the calling thread


def threads() -> set[int]:
    """The threads of this process; none where that cannot be told."""
    if not _TASKS.is_dir():
        return set()
    return {int(each.name) for each in _TASKS.iterdir()}


def recall_idlers(before: set[int]) -> None:
    """Takes threads back that left the processor with their maker and do next to nothing on it.

    Idle threads wait for each other's turns: one that takes a token from those that compute, and
    wakes when they are done, would wait milliseconds for a core on which they only spin.

    Args:
        before: `threads()` before there were any of them. Those made since must have computed.
    """
    if not hasattr(os, "SCHED_IDLE"):
        return
    took = {thread: _nanoseconds(thread) for thread in threads() - before}
    most = max(took.values(), default=0)
    for thread, nanoseconds in took.items():
        if nanoseconds < BUSY * most:
            with contextlib.suppress(OSError):
                if os.sched_getscheduler(thread) == os.SCHED_IDLE:
                    os.sched_setscheduler(
                        thread, os.sched_getscheduler(os.getpid()), os.sched_param(0)
                    )


def _nanoseconds(thread: int) -> int:
    """Processor time that a thread has taken, in nanoseconds; 0 where that cannot be told."""
    try:
        return int((_TASKS / f"{thread}/schedstat").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return 0
