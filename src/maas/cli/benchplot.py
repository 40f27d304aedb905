"""A load test's result for people: lines and bars on the terminal, a picture in a file."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from maas.cli.output import say
from maas.client.load.messages import SLICE_S
from maas.client.load.summary import Latency, Summary
from maas.core.errors import ErrorKind, MaasError, invalid

BARS = 12
WIDEST = 100
NARROWEST = 8
INSTALL = "pip install 'maas-server[bench]'"


def print_summary(summary: Summary) -> None:
    """Prints what was measured."""
    rows = f"{summary.rows} row{'s' if summary.rows > 1 else ''} a request"
    early = ", ended early" if summary.interrupted else ""
    say(f"{summary.model} at {summary.url}, {summary.protocol}, {rows}")
    say(f"{_loop(summary)}, {summary.connections} connections, {summary.seconds:.1f} s{early}")
    more = f", {summary.rows_per_s:,.0f} rows/s" if summary.rows > 1 else ""
    _line("throughput", f"{summary.throughput:,.0f} requests/s{more}")
    if summary.answered:
        _line("latency", _latency(summary.latency_ms))
    _line("errors", _errors(summary))
    if summary.lateness_ms is not None:
        late = summary.lateness_ms
        _line("lateness", f"p50 {_ms(late.p50)}  p99 {_ms(late.p99)}  max {_ms(late.max)}")
    cores = f"{summary.processes} core{'s' if summary.processes > 1 else ''}"
    _line("generator", f"{summary.generator_cpu:.0%} of {cores}")
    for number, note in enumerate(summary.notes):
        _line("" if number else "note", note)
    if summary.answered:
        say()
        for line in bars(summary.histogram, shutil.get_terminal_size((80, 24)).columns):
            say(line)


def bars(histogram: Sequence[tuple[float, int]], width: int) -> Iterator[str]:
    """Draws the distribution of latencies, at most `width` columns wide.

    Args:
        histogram: upper end in ms and count of each bucket, in order; not empty.
        width: columns of the terminal.
    """
    groups = grouped(histogram)
    most = max(count for _, _, count in groups)
    total = sum(count for _, _, count in groups)
    block = _block()
    dash = "-" if block.isascii() else "–"
    labels = [f"{_number(lower)} {dash} {_number(upper)} ms" for lower, upper, _ in groups]
    figures = [f"{count:,} ({count / total:.1%})" for _, _, count in groups]
    before = max(map(len, labels))
    after = max(map(len, figures))
    room = max(min(width, WIDEST) - before - after - 4, NARROWEST)
    for label, figure, (_, _, count) in zip(labels, figures, groups, strict=True):
        length = max(round(count / most * room), 1 if count else 0)
        yield f"{label:>{before}}  {block * length:<{room}}  {figure}".rstrip()


def grouped(histogram: Sequence[tuple[float, int]]) -> list[tuple[float, float, int]]:
    """Gathers fine buckets into at most BARS, of equal width on a logarithmic scale.

    Returns:
        Lower end, upper end (ms) and count of each.
    """
    lowest, highest = histogram[0][0], histogram[-1][0]
    lowest = max(lowest, 1e-6)
    count = BARS if highest / lowest > 1.05 else 1
    step = (math.log(max(highest, lowest)) - math.log(lowest)) / count or 1.0
    edges = [lowest * math.exp(step * number) for number in range(count + 1)]
    counts = [0] * count
    for upper, number in histogram:
        place = int((math.log(max(upper, lowest)) - math.log(lowest)) / step)
        counts[min(place, count - 1)] += number
    return [(edges[i], edges[i + 1], counts[i]) for i in range(count)]


def require_png(png: str) -> None:
    """Checks before the load test that its picture can be drawn.

    Raises:
        MaasError: FAILED_PRECONDITION without matplotlib, INVALID_ARGUMENT for a bad place.
    """
    try:
        import matplotlib  # noqa: F401  # its import is the check
    except ImportError:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"--png draws with matplotlib, which is not installed; run: {INSTALL}",
        ) from None
    path = Path(png).expanduser()
    if path.is_dir() or not path.parent.is_dir() or path.suffix.lower() != ".png":
        raise invalid(f"--png {png}: expected a file that ends in .png, in a folder that is there")


def write_png(summary: Summary, path: Path) -> None:
    """Draws the latencies and the throughput over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it keeps figures, and may look for a display.
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_latency(left, summary)
    _draw_throughput(right, summary)
    figure.suptitle(
        f"{summary.model}: {_loop(summary)}, {summary.connections} connections, "
        f"{summary.throughput:,.0f} requests/s",
        parse_math=False,
    )
    figure.savefig(path.expanduser(), dpi=150)


def _draw_latency(axes: Any, summary: Summary) -> None:
    uppers = [upper for upper, _ in summary.histogram]
    counts = [count for _, count in summary.histogram]
    if uppers:
        axes.step(uppers, counts, where="pre", color="tab:blue")
        axes.fill_between(uppers, counts, step="pre", alpha=0.3, color="tab:blue")
        axes.set_xscale("log")
    for name, side in (("p50", "right"), ("p99", "left")):
        value = getattr(summary.latency_ms, name)
        axes.axvline(value, linestyle="--", linewidth=1, color="tab:red")
        axes.text(value, 1.01, f"{name} {_ms(value)}", transform=axes.get_xaxis_transform(),
                  fontsize=8, ha=side)  # fmt: skip
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("answers")


def _draw_throughput(axes: Any, summary: Summary) -> None:
    whole = summary.timeline[: max(int(summary.seconds / SLICE_S), 1)]
    axes.plot(
        [(number + 0.5) * SLICE_S for number in range(len(whole))],
        [count / SLICE_S for count in whole],
        color="tab:green",
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time, s")
    axes.set_ylabel("answers/s")


def _loop(summary: Summary) -> str:
    if summary.loop == "closed":
        return "closed loop"
    return f"open loop, {summary.rate:g} requests/s ({summary.arrivals})"


def _latency(latency: Latency) -> str:
    return "  ".join(
        f"{name} {_ms(value)}"
        for name, value in (
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p999),
            ("max", latency.max),
        )
    )


def _errors(summary: Summary) -> str:
    if not summary.errors:
        return "none"
    return ", ".join(f"{what}: {count:,}" for what, count in summary.errors.items())


def _ms(value: float) -> str:
    return f"{_number(value)} ms"


def _number(value: float) -> str:
    """Three digits, as far as they mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _block() -> str:
    """What bars are made of: a block, or `#` where the console has none."""
    try:
        "█–".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#"
    return "█"


def _line(label: str, text: str) -> None:
    say(f"{label:<12} {text}")
