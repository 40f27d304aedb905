"""A comparison of cases, each a model and who serves it: run them, write table, JSON and chart.

One server runs at a time; rounds are interleaved, and figures are medians of them, as in `http.py`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import framework_chart
from benchmarks.cases import Row
from benchmarks.environments import HERE, TOOLS, Environment
from benchmarks.peer import Peer, Place
from benchmarks.processes import SPLIT, CpuClock, Layout
from benchmarks.run import among, describe_machine, missing, terminated

CONNECTIONS = 32


@dataclass(frozen=True)
class Contender:
    """One server of a case.

    Attributes:
        peer: The server.
        connections: How many wrk keeps busy. Fewer for a server so slow that 32 would wait for
            seconds: beyond its threads, on one core, more connections do not make it faster.
    """

    peer: Peer
    connections: int = CONNECTIONS


@dataclass(frozen=True)
class Goal:
    """A figure to reach: calls per second, or how many times those of another contender."""

    least: float
    than: str = ""


@dataclass(frozen=True)
class Case:
    """One model and who serves it, ours first.

    Attributes:
        title: What tables and charts call it.
        contenders: The servers.
        goals: Figures to reach.
        layout: The cores of server and load.
    """

    title: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...]
    layout: Layout = SPLIT


@dataclass(frozen=True)
class Plan:
    """What a run is given; as `cases.Plan`, for one case at a time."""

    models: Path
    folder: Path
    port: int
    seconds: float
    rounds: int

    def place(self, case: str, contender: Contender, index: int) -> Place:
        """Where a contender runs."""
        return Place(self.port + 10 * index, self.folder / case / contender.peer.name, self.models)


Measure = Callable[[Plan, str, Contender, int], dict[str, float]]
"""Runs one contender of a case once: (plan, case, contender, its place in the case) → figures."""


@dataclass(frozen=True)
class Comparison:
    """Cases and how they are measured.

    Attributes:
        name: Of the program and its result files.
        description: For `--help`.
        examples: For `--help`.
        cases: By name.
        environments: Those to make; their versions go into the results.
        models: Makes models and bodies; gives their folder.
        measure: Runs one contender once.
        port: The first of the ports used.
        programs: What is needed beside wrk, and the package that has it.
    """

    name: str
    description: str
    examples: str
    cases: Mapping[str, Case]
    environments: tuple[Environment, ...]
    models: Callable[[], Path]
    measure: Measure
    port: int
    programs: Mapping[str, str]


def _parser(comparison: Comparison) -> argparse.ArgumentParser:
    cases, name = comparison.cases, comparison.name
    parser = argparse.ArgumentParser(
        prog=f"benchmarks/{name}.py",
        description=comparison.description,
        epilog=comparison.examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--cases", type=among(cases), default=tuple(cases), help=",".join(cases))
    add("--seconds", type=float, default=5.0, help="length of each measurement (default 5)")
    add("--rounds", type=int, default=3, help="rounds, of which the median counts (default 3)")
    port = comparison.port
    add("--port", type=int, default=port, help=f"the first of the ports used (default {port})")
    add(
        "--output",
        type=Path,
        default=HERE / "results",
        help=f"folder for {name}.json and .png (default benchmarks/results)",
    )
    return parser


def _measured(measure: Measure, plan: Plan, name: str, case: Case) -> dict[str, Row]:
    rows = {contender.peer.name: Row() for contender in case.contenders}
    for number in range(plan.rounds):
        for index, contender in enumerate(case.contenders):
            row = rows[contender.peer.name]
            if row.problem:
                continue
            try:
                found = measure(plan, name, contender, index)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                row.problem = str(error)
                print(f"  {contender.peer.label}: {error}", flush=True)
                continue
            row.rounds.append(found)
            shown = ", ".join(f"{figure} {value:,.2f}" for figure, value in found.items())
            print(f"  round {number + 1}, {contender.peer.label}: {shown}", flush=True)
    for row in rows.values():
        row.settle()
    return rows


def ratio(rows: dict[str, Row], name: str) -> float | None:
    """Ours divided by a contender's, in requests per second."""
    ours, theirs = (rows[each].figures.get("requests_s") for each in ("maas", name))
    return ours / theirs if ours and theirs else None


def table(case: Case, rows: dict[str, Row]) -> str:
    """One case as text."""
    lines = [f"{case.title}", f"{'':34}{'connections':>12}{'requests/s':>12}{'p50 ms':>10}"]
    lines[-1] += f"{'p99 ms':>10}{'maas ÷ it':>11}"
    for contender in case.contenders:
        row = rows[contender.peer.name]
        line = f"{contender.peer.label:34}{contender.connections:>12}"
        if row.figures:
            figures = row.figures
            times = ratio(rows, contender.peer.name)
            line += f"{figures['requests_s']:>12,.1f}"
            for figure in ("p50_ms", "p99_ms"):
                line += f"{figures[figure]:>10,.2f}" if figure in figures else f"{'–':>10}"
            line += f"{times:>11,.2f}" if times else ""
        else:
            line += f"  {row.problem.splitlines()[0]}"
        lines.append(line)
    return "\n".join(lines)


def verdicts(case: Case, rows: dict[str, Row]) -> list[dict[str, Any]]:
    """A case's goals with what was measured."""
    found = []
    for goal in case.goals:
        if goal.than:
            measured = ratio(rows, goal.than)
            labels = {each.peer.name: each.peer.label for each in case.contenders}
            text = f"{case.title}, requests/s ÷ {labels[goal.than]}"
        else:
            measured = rows["maas"].figures.get("requests_s")
            text = f"{case.title}, requests/s"
        met = None if measured is None else measured >= goal.least
        found.append({"goal": text, "at_least": goal.least, "measured": measured, "met": met})
    return found


def _goal_line(verdict: dict[str, Any]) -> str:
    words = {True: "reached", False: "MISSED", None: "not measured"}
    measured = verdict["measured"]
    shown = "–" if measured is None else f"{measured:,.2f}"
    return f"{words[verdict['met']]:>12}  ≥ {verdict['at_least']:,} {shown:>12}  {verdict['goal']}"


def _document(
    comparison: Comparison,
    plan: Plan,
    machine: dict[str, object],
    results: dict[str, dict[str, Row]],
    others: dict[str, float],
) -> dict[str, Any]:
    cases = comparison.cases
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "others_cpu_share": others,
        "versions": {each.name: each.versions() for each in comparison.environments},
        "goals": [each for name, rows in results.items() for each in verdicts(cases[name], rows)],
        "cases": {
            name: {
                "title": cases[name].title,
                "rows": [
                    {
                        "name": contender.peer.name,
                        "label": contender.peer.label,
                        "connections": contender.connections,
                        "maas_ratio": ratio(rows, contender.peer.name),
                        **asdict(rows[contender.peer.name]),
                    }
                    for contender in cases[name].contenders
                ],
            }
            for name, rows in results.items()
        },
    }


def main(comparison: Comparison, arguments: Sequence[str]) -> int:
    """Run a comparison.

    Args:
        comparison: The cases.
        arguments: The command line after the program's name.

    Returns:
        The exit code: 0, or 1 when something that was asked for could not be measured.
    """
    options = _parser(comparison).parse_args(arguments)
    signal.signal(signal.SIGTERM, terminated)
    problem = missing()
    for program, package in comparison.programs.items():
        if not problem and shutil.which(program) is None:
            problem = f"{program} not found: apt-get install {package}"
    if problem:
        print(problem, file=sys.stderr)
        return 1
    machine = describe_machine()
    for environment in (TOOLS, *comparison.environments):
        environment.make()
    results: dict[str, dict[str, Row]] = {}
    others: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        models = comparison.models()
        plan = Plan(models, Path(folder), options.port, options.seconds, options.rounds)
        for name in options.cases:
            print(f"{name} …", flush=True)
            clock = CpuClock.now()
            results[name] = _measured(comparison.measure, plan, name, comparison.cases[name])
            others[name] = clock.others_share()

    document = _document(comparison, plan, machine, results, others)
    for name, rows in results.items():
        print(f"\n{table(comparison.cases[name], rows)}")
    print("\n" + "\n".join(_goal_line(each) for each in document["goals"]))
    shown = ", ".join(f"{name} {share:.0%}" for name, share in others.items())
    print(f"\nused by other processes meanwhile, of one core: {shown}")

    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    written = output / f"{comparison.name}.json"
    written.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    framework_chart.draw(written, output / f"{comparison.name}.png")
    print(f"\nwritten: {written}, {output / f'{comparison.name}.png'}")
    return 1 if any(row.problem for rows in results.values() for row in rows.values()) else 0
