"""The command line of `llm.py`: model, engines and server; cases; table, JSON and chart."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import llm_chart
from benchmarks.environments import HERE, MAAS_LLM, TOOLS
from benchmarks.llm_cases import MODEL, Setup, crowd, neighbour, prefix, speed
from benchmarks.llm_engines import Bare, bare, serving_model
from benchmarks.llm_model import make_model
from benchmarks.llm_report import goals_table, table, verdicts
from benchmarks.models import make_models
from benchmarks.run import CORES, among, describe_machine, terminated

CASES: dict[str, Callable[[Setup], Any]] = {
    "speed": speed,
    "prefix": prefix,
    "neighbour": neighbour,
    "crowd": crowd,
}
DESCRIPTION = """Compare maas with the engine it uses and with llama.cpp, on the same weights.

Cases:
  speed      output tokens/s and time to the first token, 1, 4 and 16 callers at once
  prefix     time to the first token of a prompt whose first 90% are known
  neighbour  iris p99 alone, and beside a language model that never rests
  crowd      200 streams, half of them cancelled at random: what is left behind
"""
EXAMPLES = """examples:
  python benchmarks/llm.py                                       everything, about 15 minutes
  python benchmarks/llm.py --cases speed --callers 1,16 --seconds 5 --rounds 1 --output /tmp/trial
"""


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(each) for each in text.split(",")}))
    except ValueError:
        found = ()
    if not found or found[0] < 1:
        raise argparse.ArgumentTypeError(f"expected numbers such as 1,4,16, got {text!r}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/llm.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--cases", type=among(CASES), default=tuple(CASES), help=",".join(CASES))
    add("--callers", type=_numbers, default=(1, 4, 16), help="how many ask at once (1,4,16)")
    add("--seconds", type=float, default=10.0, help="length of each measurement (default 10)")
    add("--rounds", type=int, default=3, help="rounds, of which the median counts (default 3)")
    add("--port", type=int, default=18480, help="the port of the server (default 18480)")
    add(
        "--output",
        type=Path,
        default=HERE / "results",
        help="folder for llm.json and llm.png (default benchmarks/results)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the comparison.

    Args:
        arguments: The command line after the program's name.

    Returns:
        The exit code: 0, or 1 when something could not be measured.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, terminated)
    if not os.sched_getaffinity(0) >= CORES:
        print("this process may not use cores 0 and 1", file=sys.stderr)
        return 1
    machine = describe_machine()
    TOOLS.make()
    MAAS_LLM.make()
    models, model = make_models(), make_model()
    cases: dict[str, Any] = {}
    problems: dict[str, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        print("starting maas and publishing the model …", flush=True)
        home = folder / "maas"
        serving = serving_model(model, MODEL, models, home, options.port)
        server = stack.enter_context(serving)
        engines: dict[str, Bare] = {}
        if "speed" in options.cases:
            for name in ("openvino", "llamacpp"):
                running = bare(name, model, len(CORES), folder)
                engines[name] = stack.enter_context(running)
        setup = Setup(
            server,
            engines,
            models / "iris-oip.json",
            options.seconds,
            options.rounds,
            options.callers,
        )
        for name in options.cases:
            print(f"{name} …", flush=True)
            try:
                cases[name] = CASES[name](setup)
            except RuntimeError as error:
                problems[name] = str(error)
                print(f"  {error}", flush=True)

    found = verdicts(cases, options.callers)
    document = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "callers": options.callers,
        "load_average_after": os.getloadavg()[0],
        "versions": MAAS_LLM.versions(),
        "goals": found,
        "cases": cases,
        "problems": problems,
    }
    print(f"\n{table(cases, options.callers)}\n\n{goals_table(found)}")
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    written = output / "llm.json"
    written.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    llm_chart.draw(written, output / "llm.png")
    print(f"\nwritten: {written}, {output / 'llm.png'}")
    return 1 if problems else 0
