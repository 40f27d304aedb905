"""The table of processes: what the supervisor started, what it costs now, what it holds."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maas.core.records import ProcessRecord
from maas.sandbox import family_of
from maas.serving.manager import Manager

_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessTable:
    """Lists the server's processes.

    Args:
        running: what the supervisor says runs, by id.
        manager: who knows which host holds what.
        supervisor: the supervisor's pid.
        started_at: RFC 3339, of the server.
    """

    def __init__(
        self,
        running: Callable[[], Mapping[str, Mapping[str, Any]]],
        manager: Manager,
        supervisor: int,
        started_at: str,
    ):
        self._running = running
        self._manager = manager
        self._supervisor = supervisor
        self._started_at = started_at

    def records(self) -> tuple[ProcessRecord, ...]:
        """Every process, the supervisor first."""
        rows = [_record("supervisor", "supervisor", self._supervisor, (), self._started_at, 0, "")]
        for process in self._running().values():
            host = self._manager.hosts.get(process["id"])
            models = () if host is None else tuple(str(one) for one in sorted(host.holds))
            started = datetime.fromtimestamp(process["started_at"], UTC)
            rows.append(
                _record(
                    process["id"],
                    process["kind"],
                    process["pid"],
                    models,
                    started.isoformat(timespec="seconds").replace("+00:00", "Z"),
                    process["restarts"],
                    "" if host is None else host.last_exit,
                )
            )
        return tuple(rows)


def _record(
    process_id: str,
    kind: str,
    pid: int,
    models: tuple[str, ...],
    started_at: str,
    restarts: int,
    reason: str,
) -> ProcessRecord:
    # A host's worker, where it has one, is a part of it.
    used = [usage(one) for one in (family_of(pid) if kind == "host" else [pid])]
    memory, cpu_s = sum(held for held, _ in used), sum(seconds for _, seconds in used)
    state = "running" if memory else "ended"
    return ProcessRecord(
        process_id, kind, pid, state, models, memory, cpu_s, started_at, restarts, reason
    )


def usage(pid: int) -> tuple[int, float]:
    """Resident bytes and processor seconds of a process; zeros where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, IndexError):
        return 0, 0.0
    fields = stat.rpartition(")")[2].split()
    return pages * resource.getpagesize(), (int(fields[11]) + int(fields[12])) / _TICKS
