"""The command line of `frameworks.py`: environments, models, cases, then table, JSON and chart.

One server runs at a time, on core 0 with all its processes; wrk is on core 1. Rounds are
interleaved, and figures are medians of them, as in `http.py`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import framework_chart
from benchmarks.cases import WARM_S, Row
from benchmarks.contenders import BODY, CASES, Case, Contender
from benchmarks.environments import HERE, MAAS_FRAMEWORKS, TOOLS, TRAINED
from benchmarks.load import wrk
from benchmarks.peer import Place
from benchmarks.processes import SPLIT, CpuClock
from benchmarks.run import among, describe_machine, missing, terminated
from benchmarks.trained import make_trained

DESCRIPTION = """Compare maas with a framework called from Flask or FastAPI by hand.

Cases:
  keras     a Keras network 4-16-3 in model.h5: the document's Flask handler, the same with the
            model loaded once, FastAPI with tf.function
  pipeline  a scikit-learn pipeline: FastAPI calling predict_proba
  python    a Python function of four floats: FastAPI without a sandbox
"""
EXAMPLES = """examples:
  python benchmarks/frameworks.py                                     everything, a few minutes
  python benchmarks/frameworks.py --cases keras --seconds 2 --rounds 1 --output /tmp/trial
"""


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/frameworks.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--cases", type=among(CASES), default=tuple(CASES), help=",".join(CASES))
    add("--seconds", type=float, default=5.0, help="length of each measurement (default 5)")
    add("--rounds", type=int, default=3, help="rounds, of which the median counts (default 3)")
    add("--port", type=int, default=18180, help="the first of the ports used (default 18180)")
    add(
        "--output",
        type=Path,
        default=HERE / "results",
        help="folder for frameworks.json and .png (default benchmarks/results)",
    )
    return parser


def _measure(plan: Plan, name: str, case: Case) -> dict[str, Row]:
    rows = {contender.peer.name: Row() for contender in case.contenders}
    for number in range(plan.rounds):
        for index, contender in enumerate(case.contenders):
            row = rows[contender.peer.name]
            if row.problem:
                continue
            try:
                found = _one(plan, name, contender, index)
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


def _one(plan: Plan, case: str, contender: Contender, index: int) -> dict[str, float]:
    peer = contender.peer
    place = plan.place(case, contender, index)
    with peer.running(place, SPLIT.server) as server:
        url = server.url + peer.targets[case].path
        body = plan.models / f"{BODY}.json"
        loads = [
            wrk(
                url,
                body,
                cores=SPLIT.load,
                connections=contender.connections,
                seconds=seconds,
            )
            for seconds in (WARM_S, plan.seconds)
        ]
    load = loads[-1]
    return {
        "requests_s": load.requests_s,
        "p50_ms": load.p50_us / 1e3,
        "p99_ms": load.p99_us / 1e3,
        "errors": load.errors,
    }


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
            line += f"{figures['requests_s']:>12,.1f}{figures['p50_ms']:>10,.2f}"
            line += f"{figures['p99_ms']:>10,.2f}" + (f"{times:>11,.1f}" if times else "")
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
    shown = "–" if measured is None else f"{measured:,.1f}"
    return f"{words[verdict['met']]:>12}  ≥ {verdict['at_least']:,} {shown:>12}  {verdict['goal']}"


def _document(
    plan: Plan,
    machine: dict[str, object],
    results: dict[str, dict[str, Row]],
    others: dict[str, float],
) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "others_cpu_share": others,
        "versions": {each.name: each.versions() for each in (MAAS_FRAMEWORKS, TRAINED)},
        "goals": [each for name, rows in results.items() for each in verdicts(CASES[name], rows)],
        "cases": {
            name: {
                "title": CASES[name].title,
                "rows": [
                    {
                        "name": contender.peer.name,
                        "label": contender.peer.label,
                        "connections": contender.connections,
                        "maas_ratio": ratio(rows, contender.peer.name),
                        **asdict(rows[contender.peer.name]),
                    }
                    for contender in CASES[name].contenders
                ],
            }
            for name, rows in results.items()
        },
    }


def main(arguments: Sequence[str]) -> int:
    """Run the comparison.

    Args:
        arguments: The command line after the program's name.

    Returns:
        The exit code: 0, or 1 when something that was asked for could not be measured.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, terminated)
    if problem := missing():
        print(problem, file=sys.stderr)
        return 1
    machine = describe_machine()
    for environment in (TOOLS, TRAINED, MAAS_FRAMEWORKS):
        environment.make()
    results: dict[str, dict[str, Row]] = {}
    others: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        plan = Plan(make_trained(), Path(folder), options.port, options.seconds, options.rounds)
        for name in options.cases:
            print(f"{name} …", flush=True)
            clock = CpuClock.now()
            results[name] = _measure(plan, name, CASES[name])
            others[name] = clock.others_share()

    document = _document(plan, machine, results, others)
    for name, rows in results.items():
        print(f"\n{table(CASES[name], rows)}")
    print("\n" + "\n".join(_goal_line(each) for each in document["goals"]))
    shown = ", ".join(f"{name} {share:.0%}" for name, share in others.items())
    print(f"\nused by other processes meanwhile, of one core: {shown}")

    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    written = output / "frameworks.json"
    written.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    framework_chart.draw(written, output / "frameworks.png")
    print(f"\nwritten: {written}, {output / 'frameworks.png'}")
    return 1 if any(row.problem for rows in results.values() for row in rows.values()) else 0
