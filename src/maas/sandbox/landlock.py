"""Landlock by its three system calls: which files this process may open, and no TCP.

Numbers and rights from the kernel's `include/uapi/linux/landlock.h` and its documentation,
`userspace-api/landlock.rst`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System call numbers, the same on every architecture."""
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_DIR, MAKE_REG, MAKE_SOCK = 1 << 7, 1 << 8, 1 << 9
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15

HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""ABI → rights over files that are refused unless given."""
TCP = 0b11
"""Binding and connecting, from ABI 4."""
SCOPES = 0b11
"""Abstract Unix sockets and signals that leave the sandbox, from ABI 6."""

READ = READ_FILE | READ_DIR
# Links, pipes and devices are never made, and sockets only where it listens: nobody who reads the
# folder afterwards is led out of it or kept waiting.
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""Rights that a rule for a single file may name."""


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The kernel's version of Landlock; 0 where it has none or it is turned off."""
    try:
        return _call(CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(
    read: Iterable[str],
    devices: Iterable[str],
    write: Iterable[str],
    drivers: Iterable[str] = (),
    listens: bool = False,
) -> list[str]:
    """Binds the calling thread and what it starts. Wants no_new_privs.

    Args:
        read: files and folders to read; what is not there is left out.
        devices: files to read and write.
        write: folders to read and write.
        drivers: device files to give commands to, besides.
        listens: whether Unix sockets may be made in the folders to write.

    Returns:
        What binds it, and what is lacking, a sentence each.

    Raises:
        OSError: the kernel refuses what it offers.
    """
    version = abi()
    if version == 0:
        return [
            "this kernel has no Landlock: which files it reads and writes is bound by their "
            "permissions alone"
        ]
    handled = HANDLED[max(known for known in HANDLED if known <= version)]
    attributes = _RulesetAttributes(
        handled, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0
    )
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for paths, rights in (
            (read, READ),
            (devices, READ | WRITE_FILE),
            (write, WRITE | MAKE_SOCK if listens else WRITE),
            (drivers, READ | WRITE_FILE | IOCTL_DEV),
        ):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        _call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    said = [
        "it reads only what was published, Python and its libraries, and writes only its own "
        f"folders (Landlock ABI {version})"
    ]
    if version < 3:
        said.append(
            f"Landlock ABI {version} does not stop it from emptying a file that this user may write"
        )
    return said


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= OF_FILES
        beneath = _PathBeneath(rights, parent)
        _call(ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(parent)


def _call(number: int, *arguments: object) -> int:
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno() or errno.EIO
        raise OSError(code, os.strerror(code))
    return result
