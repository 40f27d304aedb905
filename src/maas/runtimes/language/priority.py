"""An engine of language models keeps every core busy; whatever else wants one goes first."""

from __future__ import annotations

import contextlib
import os


def leave_the_processor() -> None:
    """Lets this thread, and those it makes from now on, run where nothing else wants to.

    Linux's SCHED_IDLE: a thread that wakes up takes the core at once, where with `nice 19` it may
    wait for the rest of a slice. On an otherwise idle machine it costs nothing. Elsewhere, and
    where it is forbidden, nothing changes.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # 0: the calling thread
