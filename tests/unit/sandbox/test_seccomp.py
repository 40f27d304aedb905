"""The filter, run by a small classic-BPF machine for both architectures."""

from __future__ import annotations

import errno
import struct

import pytest

from maas.sandbox.seccomp import (
    ARCHITECTURES,
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    filter_program,
)
from maas.sandbox.syscalls import NEWEST, PRETENDED, REFUSED, UNKNOWN, checked

PID = 4242
MACHINES = tuple(ARCHITECTURES)
EPERM = RET_ERRNO | errno.EPERM
ENOSYS = RET_ERRNO | errno.ENOSYS


def verdict(
    machine: str,
    number: int,
    *arguments: int,
    architecture: int | None = None,
    listens: bool = False,
) -> int:
    """What the filter answers to a call."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    kind = ARCHITECTURES[machine] if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, kind, 0, *padded)
    program = filter_program(machine, PID, listens)
    at, accumulator = 0, 0
    while True:
        code, true, false, k = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x06:
            return k
        else:
            met = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[code]
            at += true if met else false


def numbers(machine: str, calls: dict) -> list[int]:
    column = MACHINES.index(machine)
    return [row[column] for row in calls.values() if row[column] is not None]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_row_has_its_answer(machine):
    assert {verdict(machine, n) for n in numbers(machine, REFUSED)} == {EPERM}
    assert {verdict(machine, n) for n in numbers(machine, PRETENDED)} == {RET_ERRNO}
    assert {verdict(machine, n) for n in numbers(machine, UNKNOWN)} == {ENOSYS}


@pytest.mark.parametrize("machine", MACHINES)
def test_everything_else_is_let_through(machine):
    conditional = {name: row for name, (row, _) in checked(PID).items()}
    named = [
        n for calls in (REFUSED, PRETENDED, UNKNOWN, conditional) for n in numbers(machine, calls)
    ]
    assert len(named) == len(set(named)), "a number stands twice"
    rest = set(range(NEWEST + 1)) - set(named)
    assert {verdict(machine, n) for n in rest} == {RET_ALLOW}
    assert {verdict(machine, n) for n in (NEWEST + 1, 1000, 1 << 20)} == {ENOSYS}


@pytest.mark.parametrize("machine", MACHINES)
def test_another_architecture_is_killed(machine):
    for architecture in (0x40000003, 0x40000028, 0):
        assert verdict(machine, 1, architecture=architecture) == RET_KILL_PROCESS


def test_the_second_abi_of_x86_64_is_refused():
    assert verdict("x86_64", 0x40000000) == EPERM
    assert verdict("x86_64", 0x40000000 | 520) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("clone", (0x3D0F00,), True),
        ("clone", (17,), False),
        ("clone", (0x10000000 | 17,), False),
        ("socketpair", (1, 1), True),
        ("socketpair", (1, 1 | 0o2000000), True),
        ("socketpair", (1, 2), False),
        ("socketpair", (1, 5), False),
        ("socketpair", (2, 1), False),
        ("kill", (PID, 9), True),
        ("kill", (0, 9), False),
        ("kill", (PID + 1, 9), False),
        ("kill", (0xFFFFFFFF, 9), False),
        ("tgkill", (PID, 1, 6), True),
        ("tgkill", (1, 1, 6), False),
        ("prlimit64", (0, 7), True),
        ("prlimit64", (PID, 7), True),
        ("prlimit64", (1, 7), False),
        ("setpriority", (0, 0, 5), True),
        ("setpriority", (0, 1, 5), False),
        ("setpriority", (1, 0, 5), False),
        ("setpriority", (2, 0, 5), False),
        ("ioprio_set", (1, 0, 5), True),
        ("ioprio_set", (3, 0, 5), False),
        ("sched_setaffinity", (0, 8), True),
        ("sched_setaffinity", (1, 8), False),
        ("sched_setscheduler", (1,), False),
        ("fcntl", (3, 3), True),
        ("fcntl", (3, 8), False),
        ("fcntl", (3, 10), False),
        ("fcntl", (3, 15), False),
        ("fcntl", (3, 1024), False),
        ("fcntl", (3, 1026), False),
        ("fcntl", (3, 1030), True),
        ("ioctl", (3, 0x5401), True),
        ("ioctl", (3, 0x5412), False),
        ("ioctl", (3, 0x541C), False),
        ("ioctl", (3, 0x8902), False),
        ("prctl", (15,), True),
        ("prctl", (1, 0), False),
    ],
)
def test_calls_that_depend_on_their_arguments(machine, name, arguments, allowed):
    row, _ = checked(PID)[name]
    number = row[MACHINES.index(machine)]
    assert number is not None
    expected = RET_ALLOW if allowed else EPERM
    assert verdict(machine, number, *arguments) == expected
    # The kernel takes these arguments for 32 bits wide: what is above them changes nothing.
    assert verdict(machine, number, *(a | 0xABCD << 32 for a in arguments)) == expected


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("socket", (1, 1), True),
        ("socket", (1, 1 | 0o2000000), True),
        ("socket", (1, 2), False),
        ("socket", (2, 1), False),
        ("socket", (16, 3), False),
        ("bind", (3,), True),
        ("listen", (3,), True),
        ("connect", (3,), False),
        ("sendmsg", (3,), False),
        ("fork", (), False),
        ("clone", (17,), False),
    ],
)
def test_one_that_listens(machine, name, arguments, allowed):
    rows = {**{name: row for name, (row, _) in checked(PID).items()}, **REFUSED}
    number = rows[name][MACHINES.index(machine)]
    if number is not None:
        expected = RET_ALLOW if allowed else EPERM
        assert verdict(machine, number, *arguments, listens=True) == expected
