"""Draws a comparison's PNG from its JSON; runs in the environment `tools`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.chart import OURS, PEER
from benchmarks.environments import ROOT, TOOLS

FAR_APART = 20
"""Times by which figures differ that need a logarithmic axis."""


def draw(results: Path, picture: Path) -> None:
    """Draw the chart.

    Args:
        results: the JSON.
        picture: The PNG to write.
    """
    command = [str(TOOLS.python), "-m", "benchmarks.framework_chart", str(results), str(picture)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)


def main(results_path: Path, picture: Path) -> None:
    """Read the results and write the picture: a panel a case."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    results = json.loads(results_path.read_text())
    cases = [
        (case["title"], rows)
        for case in results["cases"].values()
        if (rows := [row for row in case["rows"] if row["figures"]])
    ]
    if not cases:
        return
    heights = [len(rows) + 0.8 for _, rows in cases]
    figure, spots = plt.subplots(
        len(cases),
        1,
        figsize=(9, 0.62 * sum(heights) + 0.6),
        height_ratios=heights,
        squeeze=False,
    )
    for axes, (title, rows) in zip(spots.flat, cases, strict=True):
        values = [row["figures"]["requests_s"] for row in rows]
        colours = [OURS if row["name"] == "maas" else PEER for row in rows]
        bars = axes.barh(range(len(rows)), values, color=colours, height=0.65)
        texts = [f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" for value in values]
        for at, row in enumerate(rows):
            if row["name"] != "maas" and row["maas_ratio"]:
                texts[at] += f"  (maas ×{row['maas_ratio']:,.1f})"
        axes.bar_label(bars, texts, padding=4, fontsize=9)
        if max(values) > FAR_APART * min(values):
            axes.set_xscale("log")
            axes.set_xlim(min(1.0, *values), max(values) * 12)
            axes.set_xlabel("logarithmic", fontsize=9)
        else:
            axes.set_xlim(0, max(values) * 1.25)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
    machine = results["machine"]
    figure.suptitle(
        f"requests/s; {results['date'][:10]}, {machine['cpu']}, server on one core if nothing "
        f"else is said, rounds: {results['rounds']} of {results['seconds']:g} s, medians",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    figure.tight_layout()
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
