"""An alarm clock for an event loop, to some tens of microseconds.

Event loops wait in whole milliseconds, as epoll does; a request that is due between two of them
would be sent late. Linux's timerfd is exact: https://man7.org/linux/man-pages/man2/timerfd_create.2.html
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable

CLOCK_MONOTONIC = 1
TFD_NONBLOCK = os.O_NONBLOCK
TFD_CLOEXEC = os.O_CLOEXEC
TFD_TIMER_ABSTIME = 1
_SPEC = struct.Struct("qqqq")
"""`struct itimerspec`: interval and value, seconds and nanoseconds each."""


class Alarm:
    """Calls a function at absolute times of `time.monotonic_ns`.

    Args:
        loop: where it is called.
        ring: what is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]):
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = _timer_file(self._libc)
        if self._file is not None:
            loop.add_reader(self._file, self._read)

    def set(self, at: int) -> None:
        """Rings once, at `at` ns; at once if that has passed. It forgets an earlier time."""
        if self._file is not None:
            spec = _SPEC.pack(0, 0, *divmod(max(at, 1), 1_000_000_000))
            if self._libc.timerfd_settime(self._file, TFD_TIMER_ABSTIME, spec, None) != 0:
                raise OSError(ctypes.get_errno(), "the timer cannot be set")
            return
        if self._handle is not None:
            self._handle.cancel()
        wait_s = max(at - time.monotonic_ns(), 0) / 1e9
        self._handle = self._loop.call_later(wait_s, self._ring)

    def close(self) -> None:
        """Never rings again."""
        if self._handle is not None:
            self._handle.cancel()
        if self._file is not None:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = None

    def _read(self) -> None:
        assert self._file is not None
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # set anew since it rang
            return
        self._ring()


def _timer_file(libc: ctypes.CDLL) -> int | None:
    """Makes a timer; None where there is none to be had."""
    if not sys.platform.startswith("linux"):
        return None
    create = getattr(libc, "timerfd_create", None)
    file = -1 if create is None else create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    return None if file < 0 else int(file)
