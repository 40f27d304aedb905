"""From the counts of all processes to what each version has done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from maas.core.identity import ServableId
from maas.core.statistics import BatchStat, DurationStat, VersionStatistics
from maas.telemetry.batchsizes import BY_ROWS
from maas.telemetry.exposition import Merged
from maas.telemetry.series import Series

_Key = tuple[str, tuple[str, ...]]


class LastRuns:
    """When each version was last heard to have run, by model and version.

    Args:
        clock: wall-clock seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time):
        self._clock = clock
        self._seen: dict[str, dict[tuple[str, ...], float]] = {}
        self.at_ms: dict[tuple[str, ...], int] = {}

    def update(self, process: str, series: Iterable[Series]) -> None:
        """Takes a process's newest counts."""
        seen = self._seen.setdefault(process, {})
        for one in series:
            if one.name == "maas_batches_total" and one.count != seen.get(one.labels, 0.0):
                seen[one.labels] = one.count
                self.at_ms[one.labels] = int(self._clock() * 1000)

    def ended(self, process: str) -> None:
        """A process has ended: its successor counts from 0."""
        self._seen.pop(process, None)


class Tally:
    """What all processes have counted, and when each version last ran.

    Args:
        clock: wall-clock seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time):
        self._merged = Merged()
        self._last_runs = LastRuns(clock)

    def update(self, process: str, series: tuple[Series, ...]) -> None:
        """Takes a process's newest counts."""
        self._merged.update(process, series)
        self._last_runs.update(process, series)

    def ended(self, process: str) -> None:
        """A process has ended: its counts stay, and its successor counts from 0."""
        self._merged.ended(process)
        self._last_runs.ended(process)

    def series(self) -> Mapping[_Key, Series]:
        """Everything added up."""
        return self._merged.series()

    def statistics(self, servables: Iterable[ServableId]) -> tuple[VersionStatistics, ...]:
        """What versions have done, in the order given."""
        return statistics_of(servables, self.series(), self._last_runs.at_ms)


def statistics_of(
    servables: Iterable[ServableId],
    series: Mapping[_Key, Series],
    last_ms: Mapping[tuple[str, ...], int],
) -> tuple[VersionStatistics, ...]:
    """What versions have done, in the order given.

    Args:
        servables: which.
        series: of all processes, added up.
        last_ms: when each version last ran, by model and version.
    """
    by_version: dict[tuple[str, ...], list[Series]] = {}
    for one in series.values():
        by_version.setdefault(one.labels[:2], []).append(one)
    return tuple(
        _one(servable, by_version.get(key, ()), last_ms.get(key, 0))
        for servable in servables
        if (key := (servable.name, str(servable.version)))
    )


def _one(servable: ServableId, series: Iterable[Series], last_ms: int) -> VersionStatistics:
    own: dict[str, list[Series]] = {}
    for one in series:
        own.setdefault(one.name, []).append(one)
    return VersionStatistics(
        servable,
        last_ms,
        inference_count=_count(own.get("maas_rows_total", ())),
        execution_count=_count(own.get("maas_batches_total", ())),
        success=_duration(own.get("maas_call_seconds", ())),
        fail=_duration(own.get("maas_call_failed_seconds", ())),
        queue=_duration(own.get("maas_queue_seconds", ())),
        compute_infer=_duration(own.get("maas_infer_seconds", ())),
        batches=tuple(
            BatchStat(int(one.labels[2]), _duration((one,)))
            for one in sorted(own.get(BY_ROWS, ()), key=lambda one: int(one.labels[2]))
        ),
    )


def _count(series: Iterable[Series]) -> int:
    return int(sum(one.count for one in series))


def _duration(series: Iterable[Series]) -> DurationStat:
    return DurationStat(_count(series), int(sum(one.total for one in series) * 1e9))
