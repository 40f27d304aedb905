"""What a process holds, seen from outside: what a watchdog compares with its bounds."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from pathlib import Path

from msgspec import Struct

KIB = 1 << 10
MOST_ENTRIES = 10_000
"""Files looked at in a folder; one that has more is as good as endless."""
ENDLESS = 1 << 63


def available_bytes() -> int:
    """Memory that can be had without swapping, as the kernel estimates it."""
    with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - read as the kernel's
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * KIB
    return 0


class Usage(Struct, frozen=True):
    """One process now.

    Args:
        memory_bytes: resident, swapped out, in huge pages, and the page tables for it.
        threads: how many it has.
    """

    memory_bytes: int
    threads: int


def usage_of(pid: int) -> Usage:
    """What a process holds; nothing where it has ended or /proc does not say."""
    fields: dict[str, int] = {}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            for line in file:
                name, _, rest = line.partition(":")
                if name in ("VmRSS", "VmSwap", "VmPTE", "HugetlbPages", "Threads"):
                    fields[name] = int(rest.split()[0])
    except (OSError, ValueError, IndexError):
        return Usage(0, 0)
    threads = fields.pop("Threads", 0)
    return Usage(sum(fields.values()) * KIB, threads)


def folder_bytes(folder: Path) -> int:
    """Bytes on disk under a folder, links not followed.

    2⁶³ where that cannot be told: too many entries, or folders nested too deep or closed to the
    reader, in which files would go uncounted.
    """
    total, seen, pending = 0, 0, deque([str(folder)])
    while pending:
        try:
            with os.scandir(pending.popleft()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES:
                        return ENDLESS
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
        except (FileNotFoundError, NotADirectoryError):
            continue  # it has gone meanwhile
        except OSError:
            return ENDLESS
    return total


def unlinked_bytes(pid: int) -> int:
    """Bytes of files that a process holds without a name: no folder shows them.

    Each is counted once, whether it is held open or mapped into memory; 0 where the process has
    ended. Memory that could be shared is such a file, too, and need not be resident to be held.
    """
    sizes: dict[tuple[int, int], int] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - names alone are wanted
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116 - a path for the kernel
                if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                    sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    mapped: dict[str, int] = {}
    with (
        contextlib.suppress(OSError, ValueError),
        open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as file,  # noqa: PTH123
    ):
        open_files = {str(inode) for _, inode in sizes}
        for line in file:
            if line.endswith(" (deleted)\n"):
                span, _, _, _, inode, _ = line.split(maxsplit=5)
                start, _, end = span.partition("-")
                if inode not in open_files:
                    mapped[inode] = mapped.get(inode, 0) + int(end, 16) - int(start, 16)
    return sum(sizes.values()) + sum(mapped.values())


def family_of(pid: int) -> list[int]:
    """A process and its descendants, those that have just ended left out."""
    found, pending = [], [pid]
    while pending:
        process = pending.pop()
        found.append(process)
        try:
            for thread in Path(f"/proc/{process}/task").iterdir():
                pending.extend(int(n) for n in (thread / "children").read_text().split())
        except (OSError, ValueError):
            continue
    return found
