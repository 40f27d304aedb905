"""The command line: make environments and models, run the cases, write table, JSON and chart."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from benchmarks import chart
from benchmarks.cases import CASES, Plan, Rows
from benchmarks.environments import HERE, TOOLS
from benchmarks.models import make_models
from benchmarks.peer import Peer
from benchmarks.peers import PEERS
from benchmarks.processes import CpuClock
from benchmarks.report import goals_table, ratio, table, verdicts

CORES = {0, 1}
DESCRIPTION = """Compare maas with the servers people use today, all serving the same ONNX file.

Cases:
  one-core   iris, 32 connections, the server's processes on core 0, wrk on core 1
  two-cores  the same, server and wrk on both cores
  latency    iris at half of each server's own peak, in an open loop
  image      a 299×299×3 image as JSON, and iris calls beside it
  footprint  maas alone: memory with three models, start to ready, import
"""
EXAMPLES = """examples:
  python benchmarks/http.py                                 everything, about 20 minutes
  python benchmarks/http.py --peers triton,fastapi --cases one-core --seconds 2 --rounds 1
  python benchmarks/http.py --peers maas --cases footprint
"""


def among(allowed: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """A reader of comma-separated names, which keeps the order of those allowed."""
    known = tuple(allowed)

    def parse(text: str) -> tuple[str, ...]:
        names = {name.strip() for name in text.split(",")} - {""}
        if not names or names - set(known):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, got {text!r}")
        return tuple(name for name in known if name in names)

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/http.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--peers", type=among(PEERS), default=tuple(PEERS), help=",".join(PEERS))
    add("--cases", type=among(CASES), default=tuple(CASES), help=",".join(CASES))
    add("--seconds", type=float, default=5.0, help="length of each measurement (default 5)")
    add("--rounds", type=int, default=3, help="rounds, of which the median counts (default 3)")
    add("--port", type=int, default=18080, help="the first of the ports used (default 18080)")
    add(
        "--output",
        type=Path,
        default=HERE / "results",
        help="folder for http.json and http.png (default benchmarks/results)",
    )
    return parser


def missing() -> str:
    """What this machine lacks for a benchmark; empty where it has everything."""
    programs = [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    if programs:
        return f"{' and '.join(programs)} not found: apt-get install wrk util-linux"
    if not os.sched_getaffinity(0) >= CORES:
        return "this process may not use cores 0 and 1, which the layouts need"
    return ""


def describe_machine() -> dict[str, object]:
    """The machine that the figures are of."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
    }


def _prepare(names: Sequence[str]) -> tuple[Peer, ...]:
    """Make the environments; a peer whose environment fails is left out, loudly."""
    peers = []
    for name in names:
        try:
            PEERS[name].environment.make()
            peers.append(PEERS[name])
        except RuntimeError as error:
            print(f"! {PEERS[name].label} is left out: {error}", file=sys.stderr)
    return tuple(peers)


def _document(
    plan: Plan,
    machine: Mapping[str, object],
    results: Mapping[str, Rows],
    others: Mapping[str, float],
) -> dict[str, object]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "others_cpu_share": others,
        "labels": {peer.name: peer.label for peer in plan.peers},
        "versions": {peer.name: peer.environment.versions() for peer in plan.peers},
        "goals": [
            {**asdict(each.goal), "measured": each.measured, "met": each.met}
            for each in verdicts(results)
        ],
        "cases": {
            case: {
                name: {**asdict(row), "maas_ratio": ratio(rows, name)} for name, row in rows.items()
            }
            for case, rows in results.items()
        },
    }


def terminated(_signal: int, _frame: object) -> NoReturn:
    """A handler of SIGTERM."""
    raise SystemExit(143)  # so that every `with` block stops what it started


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
    TOOLS.make()
    models = make_models()
    peers = _prepare(options.peers)
    results: dict[str, Rows] = {}
    others: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        plan = Plan(peers, models, Path(folder), options.port, options.seconds, options.rounds)
        for case in options.cases:
            print(f"{case} …", flush=True)
            clock = CpuClock.now()
            results[case] = CASES[case](plan)
            others[case] = clock.others_share()

    for case, rows in results.items():
        print(f"\n{table(case, rows)}")
    print(f"\n{goals_table(verdicts(results))}")
    shown = ", ".join(f"{case} {share:.0%}" for case, share in others.items())
    print(f"\nused by other processes meanwhile, of one core: {shown}")

    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    document = json.dumps(_document(plan, machine, results, others), indent=2, ensure_ascii=False)
    (output / "http.json").write_text(document + "\n")
    chart.draw(output / "http.json", output / "http.png")
    print(f"\nwritten: {output / 'http.json'}, {output / 'http.png'}")
    problems = [row.problem for rows in results.values() for row in rows.values() if row.problem]
    return 1 if problems or len(peers) < len(options.peers) else 0
