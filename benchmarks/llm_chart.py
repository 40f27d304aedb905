"""Draws `llm.png` from `llm.json`; runs in the environment `tools`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.chart import OURS, PEER, TAIL
from benchmarks.environments import ROOT, TOOLS
from benchmarks.llm_report import LABELS

COLOURS = {"maas": OURS, "openvino": TAIL, "llamacpp": PEER}


def draw(results: Path, picture: Path) -> None:
    """Draw the chart.

    Args:
        results: `llm.json`.
        picture: The PNG to write.
    """
    command = [str(TOOLS.python), "-m", "benchmarks.llm_chart", str(results), str(picture)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)


def main(results_path: Path, picture: Path) -> None:
    """Read the results and write the picture: tokens per second by callers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    results = json.loads(results_path.read_text())
    speed, callers = results["cases"].get("speed"), results["callers"]
    if not speed:
        return
    figure, axes = plt.subplots(figsize=(9, 4.2))
    width = 0.8 / len(speed)
    for number, (name, figures) in enumerate(speed.items()):
        values = [figures[f"tokens_s_{n}"] for n in callers]
        places = [at + (number - (len(speed) - 1) / 2) * width for at in range(len(callers))]
        bars = axes.bar(places, values, width * 0.92, color=COLOURS[name], label=LABELS[name])
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=2, fontsize=9)
    highest = max(each[f"tokens_s_{n}"] for each in speed.values() for n in callers)
    axes.set_ylim(0, 1.35 * highest)  # room for the legend
    axes.set_xticks(range(len(callers)), [f"{n} caller{'s' * (n > 1)}" for n in callers])
    axes.set_ylabel("output tokens/s")
    axes.set_title("0.4 B parameters, Q4_0, 100-token prompts, 64 new tokens", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", frameon=False)
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
