"""Runs of the engine by how many rows they had."""

from __future__ import annotations

from maas.telemetry.metrics import Histogram, Metrics

BY_ROWS = "maas_infer_seconds_by_rows"
"""Runs of the engine by model, version and most rows; told to control, not to Prometheus."""


class BatchSizes:
    """Counts runs of one version by their rows, in powers of two. One thread writes it.

    Args:
        metrics: of the process.
        name: the model's name.
        version: the model's version.
    """

    __slots__ = ("_found", "_labels", "_metrics")

    def __init__(self, metrics: Metrics, name: str, version: int):
        self._metrics = metrics
        self._labels = (name, str(version))
        self._found: dict[int, Histogram] = {}

    def observe(self, rows: int, seconds: float) -> None:
        """Counts one run."""
        power = (rows - 1).bit_length()
        found = self._found.get(power)
        if found is None:
            labels = (*self._labels, str(1 << power))
            found = self._found[power] = self._metrics.histogram(BY_ROWS, labels)
        found.observe(seconds)
