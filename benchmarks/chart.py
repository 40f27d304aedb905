"""Draws `http.png` from `http.json`; runs in the environment `tools`, which has matplotlib."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT, TOOLS

OURS = "#d1495b"
PEER = "#8d99ae"
TAIL = "#edae49"
BARS = (
    ("one-core", "Iris, server on one core", "requests/s", "requests_s", "{:,.0f}"),
    ("two-cores", "Iris, server and load on both cores", "requests/s", "requests_s", "{:,.0f}"),
    ("image", "Image as JSON (5.3 MB), server on one core", "requests/s", "requests_s", "{:,.1f}"),
)


def draw(results: Path, picture: Path) -> None:
    """Draw the chart.

    Args:
        results: `http.json`.
        picture: The PNG to write.
    """
    command = [str(TOOLS.python), "-m", "benchmarks.chart", str(results), str(picture)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)


def _figures(results: dict[str, Any], case: str) -> dict[str, dict[str, float]]:
    rows = results["cases"].get(case, {})
    return {results["labels"][name]: row["figures"] for name, row in rows.items() if row["figures"]}


def _clear(axes: Any, title: str, unit: str, labels: list[str]) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(unit)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def _bars(axes: Any, figures: dict[str, dict[str, float]], figure: str, shape: str) -> None:
    values = [row[figure] for row in figures.values()]
    ours = figures.get("maas", {}).get(figure)
    bars = axes.barh(range(len(values)), values, color=PEER, height=0.65)
    texts = []
    for bar, label, value in zip(bars, figures, values, strict=True):
        text = shape.format(value)
        if label == "maas":
            bar.set_color(OURS)
        elif ours:
            text += f"  (maas ×{ours / value:.1f})"
        texts.append(text)
    axes.bar_label(bars, texts, padding=4, fontsize=9)
    axes.set_xlim(0, max(values) * 1.35)


def _latencies(axes: Any, figures: dict[str, dict[str, float]]) -> None:
    parts = (("constant_p99_ms", "p99", TAIL, 0.2), ("constant_p50_ms", "p50", PEER, -0.2))
    highest = 0.0
    for figure, label, colour, offset in parts:
        values = [row[figure] for row in figures.values()]
        places = [place + offset for place in range(len(values))]
        bars = axes.barh(places, values, color=colour, height=0.38, label=label)
        axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=4, fontsize=9)
        highest = max(highest, *values)
    axes.set_xlim(0, highest * 1.25)
    axes.legend(loc="lower right", frameon=False, reverse=True)


def main(results_path: Path, picture: Path) -> None:
    """Read the results and write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    results = json.loads(results_path.read_text())
    panels = [bar for bar in BARS if _figures(results, bar[0])]
    slow = _figures(results, "latency")
    count = len(panels) + bool(slow)
    if not count:
        return
    columns = min(2, count)
    lines = -(-count // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(6.5 * columns, 3.2 * lines), squeeze=False)
    spots = list(grid.flat)
    for axes, (case, title, unit, name, shape) in zip(spots, panels, strict=False):
        figures = _figures(results, case)
        _bars(axes, figures, name, shape)
        _clear(axes, title, unit, list(figures))
    if slow:
        axes = spots[len(panels)]
        _latencies(axes, slow)
        labels = [f"{label}\n{row['requests_s']:,.0f}/s" for label, row in slow.items()]
        _clear(axes, "Iris at half of each server's own peak, server on one core", "ms", labels)
    for axes in spots[count:]:
        axes.set_visible(False)
    machine = results["machine"]
    figure.suptitle(
        f"{results['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, "
        f"rounds: {results['rounds']} of {results['seconds']:g} s, medians",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    figure.tight_layout()
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
