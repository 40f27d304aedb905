"""Binding the calling process, for life: `confine`.

```
limits ─▶ no capabilities ─▶ no new privileges ─▶ Landlock (files, TCP) ─▶ seccomp (system calls)
```

Landlock says which files may be opened; seccomp says which system calls are answered, and so covers
what Landlock does not: UDP and Unix sockets, new processes, signals, other processes' memory, modes
and owners of files. Memory is watched from outside (`usage_of`): TensorFlow and OpenVINO reserve
address space that RLIMIT_AS would refuse. The number of threads is watched there, too, since
RLIMIT_NPROC counts all of the user's processes.
"""

from __future__ import annotations

import os
import sys

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError
from maas.sandbox import landlock, limits, seccomp
from maas.sandbox.interpreter import DEVICES, readable_paths

MIB = 1 << 20


class Confinement(Struct, frozen=True):
    """What a process may still do once it is bound.

    Args:
        read: files and folders it may read beside the interpreter's own.
        write: folders it may read and write.
        cpu_s: processor seconds until it is killed; 0 for no limit.
        file_bytes: the largest file it may write.
        open_files: files it may have open.
    """

    read: tuple[str, ...]
    write: tuple[str, ...]
    cpu_s: int
    file_bytes: int
    open_files: int = 256


def confine(limits_: Confinement) -> tuple[str, ...]:
    """Binds this process. There is no way back, and threads made later are bound, too.

    Args:
        limits_: what it may still do.

    Returns:
        A sentence for each thing that binds it, and for each that this machine lacks.

    Raises:
        MaasError: INTERNAL where the process has several threads (Landlock binds the calling one
            only), or where the kernel refuses what it offers.
    """
    limits.set_limits(limits_.cpu_s, limits_.file_bytes, limits_.open_files)
    said = [_limits_said(limits_)]
    if sys.platform != "linux":
        return (*said, "this is not Linux: nothing but these limits binds it")
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - names alone are counted
        raise MaasError(ErrorKind.INTERNAL, "the sandbox was entered with threads running")
    try:
        limits.end_with_parent()
        limits.drop_privileges()
        said.append("it holds no capabilities and cannot gain privileges")
        said += landlock.restrict((*readable_paths(), *limits_.read), DEVICES, limits_.write)
        said += seccomp.restrict(os.getpid())
    except OSError as error:
        raise MaasError(
            ErrorKind.INTERNAL, f"the kernel refused to bind the sandbox ({error.strerror})"
        ) from error
    return tuple(said)


def _limits_said(limits_: Confinement) -> str:
    processor = f"{limits_.cpu_s} s of processor time, " if limits_.cpu_s else ""
    return (
        f"it may use {processor}files of {limits_.file_bytes // MIB} MiB and "
        f"{limits_.open_files} open files"
    )
