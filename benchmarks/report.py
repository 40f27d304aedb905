"""From rows to text: a table per case, and the figures that were set as goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.cases import BESIDE_RATE, CONNECTIONS, IMAGE_CONNECTIONS, Row, Rows
from benchmarks.peers import MAAS, PEERS


@dataclass(frozen=True)
class Column:
    """One column of a table: the figure's name, what stands above it, and its format."""

    figure: str
    title: str
    shape: str = "{:,.0f}"


@dataclass(frozen=True)
class Table:
    """How a case is shown."""

    title: str
    columns: tuple[Column, ...]
    ratio: bool = True


@dataclass(frozen=True)
class Goal:
    """A figure to reach.

    Attributes:
        case: Where it is measured.
        text: What it says.
        figure: The name of the figure.
        limit: The figure to reach.
        peer: Divide ours by this peer's, if any.
        most: Whether the limit is an upper bound; else a lower one.
    """

    case: str
    text: str
    figure: str
    limit: float
    peer: str = ""
    most: bool = False


@dataclass(frozen=True)
class Verdict:
    """A goal, the figure measured for it and whether it is reached; None where not measured."""

    goal: Goal
    measured: float | None
    met: bool | None


_MS = "{:,.2f}"
_WRK = (
    Column("requests_s", "requests/s"),
    Column("p50_ms", "p50 ms", _MS),
    Column("p99_ms", "p99 ms", _MS),
    Column("errors", "errors"),
)
TABLES = {
    "one-core": Table(
        f"Iris, {CONNECTIONS} connections, server on core 0, wrk on core 1",
        (*_WRK, Column("pss_mb", "PSS MB")),
    ),
    "two-cores": Table(
        f"Iris, {CONNECTIONS} connections, server and wrk on both cores",
        (*_WRK, Column("pss_mb", "PSS MB")),
    ),
    "latency": Table(
        "Iris at half of each server's own peak, open loop, server on core 0 "
        "(c: evenly spaced, P: Poisson)",
        (
            Column("requests_s", "requests/s"),
            Column("constant_p50_ms", "c p50 ms", "{:,.3f}"),
            Column("constant_p99_ms", "c p99 ms", "{:,.3f}"),
            Column("constant_p99_to_p50", "c p99/p50", _MS),
            Column("poisson_p50_ms", "P p50 ms", "{:,.3f}"),
            Column("poisson_p99_ms", "P p99 ms", "{:,.3f}"),
            Column("poisson_p99_to_p50", "P p99/p50", _MS),
            Column("constant_late_p99_ms", "sent late ms", "{:,.3f}"),
        ),
        ratio=False,
    ),
    "image": Table(
        f"Image 299×299×3 as JSON, {IMAGE_CONNECTIONS} connections, server on core 0; "
        f"then {BESIDE_RATE:.0f} iris calls/s beside",
        (
            Column("requests_s", "requests/s", "{:,.1f}"),
            Column("p50_ms", "p50 ms", _MS),
            Column("errors", "errors"),
            Column("body_mb", "MB", "{:,.1f}"),
            Column("beside_p50_ms", "iris p50 ms", _MS),
            Column("beside_p99_ms", "iris p99 ms", _MS),
            Column("beside_late_p99_ms", "sent late ms", _MS),
        ),
    ),
    "footprint": Table(
        "Three small models; empty registry; import",
        (
            Column("processes", "processes"),
            Column("fresh_pss_mb", "PSS MB"),
            Column("fresh_rss_mb", "RSS MB"),
            Column("loaded_pss_mb", "PSS loaded"),
            Column("loaded_rss_mb", "RSS loaded"),
            Column("ready_s", "ready s", _MS),
            Column("import_s", "import s", "{:.3f}"),
            Column("import_server_packages", "server packages"),
        ),
        ratio=False,
    ),
}

GOALS = (
    Goal("one-core", "one core, requests/s ÷ Triton", "requests_s", 1.2, "triton"),
    Goal("one-core", "one core, requests/s ÷ FastAPI", "requests_s", 3.5, "fastapi"),
    Goal("one-core", "one core, requests/s ÷ MLServer", "requests_s", 8.0, "mlserver"),
    Goal("two-cores", "two cores, requests/s ÷ Triton", "requests_s", 1.3, "triton"),
    Goal("image", "image, requests/s ÷ FastAPI", "requests_s", 4.0, "fastapi"),
    Goal("image", "iris p99 beside the image, ms", "beside_p99_ms", 20.0, most=True),
    Goal("latency", "p99 ÷ p50 at half of peak", "constant_p99_to_p50", 3.0, most=True),
    Goal("footprint", "memory (PSS) after load, MB", "loaded_pss_mb", 400.0, most=True),
    Goal("footprint", "start to ready, s", "ready_s", 2.0, most=True),
    Goal("footprint", "import maas, s", "import_s", 0.3, most=True),
    Goal("footprint", "server packages imported", "import_server_packages", 0.0, most=True),
)


def ratio(rows: Rows, peer: str, figure: str = "requests_s") -> float | None:
    """Ours divided by a peer's, where both were measured."""
    ours, theirs = (rows.get(name, Row()).figures.get(figure) for name in (MAAS.name, peer))
    return ours / theirs if ours and theirs else None


def _lines(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def table(case: str, rows: Rows) -> str:
    """One case as text."""
    shown = TABLES[case]
    head = ["", *(column.title for column in shown.columns)]
    cells = [head + ["maas ÷ it"] * shown.ratio]
    for name, row in rows.items():
        line = [PEERS[name].label]
        for column in shown.columns:
            value = row.figures.get(column.figure)
            line.append("–" if value is None else column.shape.format(value))
        if shown.ratio:
            times = ratio(rows, name)
            line.append("–" if times is None else f"{times:.2f}")
        cells.append(line)
    problems = [
        f"! {PEERS[name].label}: {row.problem.splitlines()[0]}"
        for name, row in rows.items()
        if row.problem
    ]
    return "\n".join([shown.title, *_lines(cells), *problems])


def verdicts(results: Mapping[str, Rows]) -> list[Verdict]:
    """Every goal with what was measured."""
    found = []
    for goal in GOALS:
        rows = results.get(goal.case, {})
        if goal.peer:
            value = ratio(rows, goal.peer, goal.figure)
        else:
            value = rows.get(MAAS.name, Row()).figures.get(goal.figure)
        met = None
        if value is not None:
            met = value <= goal.limit if goal.most else value >= goal.limit
        found.append(Verdict(goal, value, met))
    return found


def goals_table(found: Sequence[Verdict]) -> str:
    """The goals as text."""
    words = {True: "reached", False: "MISSED", None: "not measured"}
    cells = [["figure", "goal", "measured", ""]]
    for each in found:
        sign = "≤" if each.goal.most else "≥"
        shown = "–" if each.measured is None else f"{each.measured:,.3g}"
        cells.append([each.goal.text, f"{sign} {each.goal.limit:g}", shown, words[each.met]])
    return "\n".join(_lines(cells))
