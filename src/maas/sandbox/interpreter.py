"""What Python and its libraries read of a machine, whatever the model: `readable_paths`."""

from __future__ import annotations

import os
import sys
import sysconfig

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


def readable_paths() -> tuple[str, ...]:
    """The interpreter's libraries, what is on its path, the system's libraries, and itself.

    `/proc/self` is resolved when the rule is made: it means this process and no other.
    """
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    libraries = [os.path.join(p, "lib") for p in prefixes]  # noqa: PTH118 - plain strings
    libraries += [sysconfig.get_path(n) for n in ("stdlib", "platstdlib", "purelib", "platlib")]
    searched = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    own = [path for path in (*libraries, *sys.path, *searched) if path.strip("/")]
    return (*dict.fromkeys(own), *SYSTEM, "/proc/self")
