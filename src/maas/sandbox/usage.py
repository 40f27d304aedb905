"""What a process holds, seen from outside: what a watchdog compares with its bounds."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from msgspec import Struct

KIB = 1 << 10
MOST_ENTRIES = 10_000
"""Files looked at in a folder; one that has more is as good as endless."""


class Usage(Struct, frozen=True):
    """One process now.

    Args:
        memory_bytes: resident, swapped out, and the page tables for it.
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
                if name in ("VmRSS", "VmSwap", "VmPTE", "Threads"):
                    fields[name] = int(rest.split()[0])
    except (OSError, ValueError, IndexError):
        return Usage(0, 0)
    threads = fields.pop("Threads", 0)
    return Usage(sum(fields.values()) * KIB, threads)


def folder_bytes(folder: Path) -> int:
    """Bytes on disk under a folder, links not followed; 2⁶³ where it has too many entries."""
    total, seen, pending = 0, 0, deque([str(folder)])
    while pending:
        try:
            with os.scandir(pending.popleft()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES:
                        return 1 << 63
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # it has gone meanwhile
    return total


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
