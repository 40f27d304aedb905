"""The filter of system calls, as classic BPF, and its installation.

Layout of `struct seccomp_data` and return values from `include/uapi/linux/seccomp.h`; the virtual
machine from `include/uapi/linux/bpf_common.h`. Both architectures here are little-endian.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable

from maas.sandbox.syscalls import (
    LISTENING,
    NEWEST,
    PRETENDED,
    REFUSED,
    UNKNOWN,
    Check,
    checked,
)

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""`uname -m` → AUDIT_ARCH, in the order of the numbers in `syscalls`."""
X32_BIT = 0x40000000
"""Set in the calls of x86_64's second ABI, which have numbers of their own."""

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RET_KILL_PROCESS, RET_ERRNO, RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
LD_W_ABS, AND_K, RET_K = 0x20, 0x54, 0x06
JEQ_K, JGT_K, JGE_K = 0x15, 0x25, 0x35
AT_NUMBER, AT_ARCHITECTURE, AT_ARGUMENTS = 0, 4, 16

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, k: `struct sock_filter`."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict(pid: int, listens: bool = False) -> list[str]:
    """Installs the filter. Wants no_new_privs.

    Args:
        pid: this process's.
        listens: whether it may listen on Unix sockets.

    Returns:
        What it refuses, or that there is none for this machine, as sentences.

    Raises:
        OSError: the kernel refuses.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        return [
            f"there is no filter of system calls for {machine}: sockets and other processes are "
            "not refused"
        ]
    try:
        install(filter_program(machine, pid, listens))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return [
            "this kernel has no filter of system calls: sockets and other processes are not refused"
        ]
    sockets = "listens in its own folders, connects to nothing" if listens else "opens no sockets"
    return [f"it {sockets}, starts no processes and touches no other one (seccomp)"]


def filter_program(machine: str, pid: int, listens: bool = False) -> list[Instruction]:
    """Assembles the filter.

    Args:
        machine: a key of `ARCHITECTURES`.
        pid: of the process that will be bound.
        listens: whether it may listen on Unix sockets.
    """
    column = list(ARCHITECTURES).index(machine)
    refuse = _answer(errno.EPERM)
    program: list[Instruction] = [
        (LD_W_ABS, 0, 0, AT_ARCHITECTURE),
        (JEQ_K, 1, 0, ARCHITECTURES[machine]),
        (RET_K, 0, 0, RET_KILL_PROCESS),
        (LD_W_ABS, 0, 0, AT_NUMBER),
    ]
    if machine == "x86_64":
        program += [(JGE_K, 0, 1, X32_BIT), refuse]
    program += [(JGT_K, 0, 1, NEWEST), _answer(errno.ENOSYS)]
    for calls, answer in (
        (REFUSED, refuse),
        (PRETENDED, _answer(0)),
        (UNKNOWN, _answer(errno.ENOSYS)),
    ):
        for name, numbers in calls.items():
            number = numbers[column]
            if number is not None and not (listens and name in LISTENING):
                program += [(JEQ_K, 0, 1, number), answer]
    for numbers, checks in checked(pid, listens).values():
        number = numbers[column]
        if number is not None:
            body = [*_checks(checks), (RET_K, 0, 0, RET_ALLOW)]
            program += [(JEQ_K, 0, len(body), number), *body]
    return [*program, (RET_K, 0, 0, RET_ALLOW)]


def _checks(checks: Iterable[Check]) -> list[Instruction]:
    """Falls through where every check holds, answers EPERM else. It spoils the number loaded."""
    body: list[Instruction] = []
    refuse = _answer(errno.EPERM)
    for check in checks:
        body.append((LD_W_ABS, 0, 0, AT_ARGUMENTS + 8 * check.argument))
        body.append((AND_K, 0, 0, check.mask))
        count = len(check.values)
        if check.among:
            # From the value that fits over the rest and the refusal.
            body += [(JEQ_K, count - at, 0, value) for at, value in enumerate(check.values)]
        else:
            # To the refusal from any value that fits; past it from the last that does not.
            body += [
                (JEQ_K, count - 1 - at, 1 if at == count - 1 else 0, value)
                for at, value in enumerate(check.values)
            ]
        body.append(refuse)
    return body


def _answer(code: int) -> Instruction:
    return (RET_K, 0, 0, RET_ERRNO | code)


def install(program: list[Instruction]) -> None:
    """Installs a program in the calling thread and what it starts.

    Raises:
        OSError: the kernel refuses it; EINVAL where it has no filters.
    """
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    libc = ctypes.CDLL(None, use_errno=True)
    given = ctypes.byref(_Program(len(program), code))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, given, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
