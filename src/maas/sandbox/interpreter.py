"""What Python and its libraries read of a machine, whatever the model: `readable_paths`."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/os-release"),
    *("/dev/urandom", "/dev/random"),
    # How many processors and how much memory there is: BLAS, TBB and TensorFlow ask.
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems", "/proc/version"),
    *("/proc/sys/vm/overcommit_memory", "/proc/sys/vm/max_map_count"),
    *("/proc/sys/kernel/osrelease", "/proc/sys/kernel/cap_last_cap"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup"),
    *("/sys/kernel/mm/transparent_hugepage", "/sys/bus/pci/devices"),
)
DEVICES = ("/dev/null", "/dev/zero")
"""Read and written."""
GPU_READ = (
    "/proc/driver/nvidia",
    "/proc/devices",
    "/sys/module/nvidia",
    "/sys/bus/pci",
    "/sys/devices",
)
"""What CUDA looks up of the machine."""


def readable_paths(given: Sequence[str]) -> tuple[str, ...]:
    """The interpreter's libraries, what is on its path, the system's libraries, and itself.

    `/proc/self` is resolved when the rule is made: it means this process and no other.

    Args:
        given: what the process may read and write beside that. A folder on the path that holds one
            of these is left out: it is no library but somebody's home or project, and what lies
            beside the model in it is none of the model's business.
    """
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    libraries = [os.path.join(p, "lib") for p in prefixes]  # noqa: PTH118 - plain strings
    libraries += [sysconfig.get_path(n) for n in ("stdlib", "platstdlib", "purelib", "platlib")]
    searched = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    models = [os.path.realpath(path) for path in given]
    own = [path for path in (*libraries, *sys.path, *searched) if path and not _holds(path, models)]
    return (*dict.fromkeys(own), *SYSTEM, "/proc/self")


def gpu_devices() -> tuple[str, ...]:
    """The files through which NVIDIA's driver is spoken to; none where there is no driver."""
    return tuple(sorted(str(path) for path in Path("/dev").glob("nvidia*") if not path.is_dir()))


def _holds(folder: str, paths: Sequence[str]) -> bool:
    real = Path(folder).resolve()
    return any(Path(path).is_relative_to(real) for path in paths)
