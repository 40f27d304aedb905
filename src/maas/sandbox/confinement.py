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
from maas.sandbox.interpreter import DEVICES, GPU_READ, gpu_devices, readable_paths

MIB = 1 << 20


class Confinement(Struct, frozen=True):
    """What a process may still do once it is bound.

    Args:
        read: files and folders it may read beside the interpreter's own.
        write: folders it may read and write.
        cpu_s: processor seconds until it is killed; 0 for no limit.
        file_bytes: the largest file it may write.
        open_files: files it may have open.
        gpu: whether it may speak to the GPU's driver.
        listens: whether it may listen on a Unix socket in the folders that it writes, as some
            engines insist on; it still connects to nothing.
    """

    read: tuple[str, ...]
    write: tuple[str, ...]
    cpu_s: int
    file_bytes: int
    open_files: int = 256
    gpu: bool = False
    listens: bool = False


def confine(allowed: Confinement) -> tuple[str, ...]:
    """Binds this process. There is no way back, and threads made later are bound, too.

    Args:
        allowed: what it may still do.

    Returns:
        A sentence for each thing that binds it, and for each that this machine lacks.

    Raises:
        MaasError: INTERNAL where the process has several threads (Landlock binds the calling one
            only), where a path that it is given cannot be read, or where the kernel refuses what
            it offers.
    """
    limits.set_limits(allowed.cpu_s, allowed.file_bytes, allowed.open_files)
    said = [_limits_said(allowed)]
    if sys.platform != "linux":
        return (*said, "this is not Linux: nothing but these limits binds it")
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - names alone are counted
        raise MaasError(ErrorKind.INTERNAL, "the sandbox was entered with threads running")
    try:
        limits.end_with_parent()
        limits.drop_privileges()
        said.append("it holds no capabilities and cannot gain privileges")
        given = (*allowed.read, *allowed.write)
        if not all(os.access(path, os.R_OK) for path in given):
            raise PermissionError(0, "what it was given is not there or another user's")
        read = (*readable_paths(given), *allowed.read)
        drivers = gpu_devices() if allowed.gpu else ()
        if drivers:
            read = (*read, *GPU_READ)
            said.append(f"it may use the GPU ({len(drivers)} device files)")
        said += landlock.restrict(read, DEVICES, allowed.write, drivers, allowed.listens)
        said += seccomp.restrict(os.getpid(), allowed.listens)
    except OSError as error:
        raise MaasError(
            ErrorKind.INTERNAL, f"the sandbox could not be entered: {error.strerror}"
        ) from error
    return tuple(said)


def _limits_said(allowed: Confinement) -> str:
    processor = f"{allowed.cpu_s} s of processor time, " if allowed.cpu_s else ""
    return (
        f"it may use {processor}files of {allowed.file_bytes // MIB} MiB and "
        f"{allowed.open_files} open files"
    )
