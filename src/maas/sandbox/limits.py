"""Resource limits, and what Linux's prctl and capset take away."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CAPABILITY_VERSION_3 = 0x20080522
SPARE_S = 5
"""Seconds between the signal that can be caught at the processor limit and the one that cannot."""


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    """Effective, permitted and inheritable, in two halves of 32 bits each; all none."""

    _fields_ = (("words", ctypes.c_uint32 * 6),)


def set_limits(cpu_s: int, file_bytes: int, open_files: int) -> None:
    """Sets the limits that every platform has; a write beyond the file limit is an OSError.

    Args:
        cpu_s: processor seconds, 0 for none.
        file_bytes: largest file.
        open_files: files open at once.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if cpu_s:
        _lower(resource.RLIMIT_CPU, cpu_s, cpu_s + SPARE_S)
    _lower(resource.RLIMIT_FSIZE, file_bytes, file_bytes)
    _lower(resource.RLIMIT_NOFILE, open_files, open_files)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _lower(which: int, soft: int, hard: int) -> None:
    now = resource.getrlimit(which)[1]
    if now != resource.RLIM_INFINITY:
        soft, hard = min(soft, now), min(hard, now)
    resource.setrlimit(which, (soft, hard))


def end_with_parent() -> None:
    """Has the kernel kill this process when the thread that started it ends.

    Raises:
        OSError: it is gone already, or the kernel refuses.
    """
    before = os.getppid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != before:
        raise ProcessLookupError(0, "its parent has ended")


def drop_privileges() -> None:
    """Drops every capability, and with no_new_privs every way to one. seccomp(2) wants that, too.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    if libc.capset(ctypes.byref(header), ctypes.byref(_CapabilitySets())) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
