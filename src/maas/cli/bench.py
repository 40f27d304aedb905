"""`maas bench`: how fast a published model answers, and how fast it does not."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from maas.cli import options
from maas.cli.output import ExitCode, print_json, say
from maas.core.errors import invalid

if TYPE_CHECKING:
    import numpy as np

    from maas.client.load.bodies import Target
    from maas.client.load.messages import LoadPlan, Tally

MOST_CONNECTIONS = 4096
MOST_ROWS = 100_000


class Wire(StrEnum):
    """In which protocol it is called."""

    PLAIN = "plain"
    OIP = "oip"
    TFSERVING = "tfserving"


class Arrivals(StrEnum):
    """When the requests of an open loop come."""

    POISSON = "poisson"
    CONSTANT = "constant"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("bench", epilog="Example: maas bench iris --rate 500 --seconds 30")(bench)


def bench(
    ref: Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="Or NAME@ALIAS.")],
    connections: Annotated[
        int, typer.Option("--connections", help="Requests under way at most.")
    ] = 32,
    seconds: Annotated[float, typer.Option("--seconds", help="How long requests are sent.")] = 10,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="R",
            help="Open loop: R requests a second, answered or not. Without it a closed loop: "
            "each connection waits for its answer.",
        ),
    ] = None,
    arrivals: Annotated[
        Arrivals, typer.Option("--arrivals", help="How they come in the open loop.")
    ] = Arrivals.POISSON,
    rows: Annotated[int, typer.Option("--rows", help="Rows of a request.")] = 1,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", help="Rows to send: CSV, JSON, .npy, .npz; else drawn."),
    ] = None,
    protocol: Annotated[
        Wire, typer.Option("--protocol", help="In which protocol it is called.")
    ] = Wire.PLAIN,
    processes: Annotated[
        int | None,
        typer.Option("--processes", help="Of the load generator; half of the cores."),
    ] = None,
    png: Annotated[str | None, typer.Option("--png", help="Draw a picture to this file.")] = None,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Measure a model's latency and throughput against a running server."""
    from maas.cli.benchplot import print_summary, require_png, write_png
    from maas.client.load.bodies import make_bodies, make_requests, probe
    from maas.client.load.messages import LoadPlan
    from maas.client.load.summary import summarise

    count = _check(connections, seconds, rate, rows, processes)
    if png is not None:
        require_png(png)
    target, given = _target(ref, protocol, file, url, key)
    bodies = make_bodies(target, given, rows, seed=0)
    probe(target, bodies[0])
    parts = urlsplit(target.address.url)
    tls = parts.scheme == "https"
    plan = LoadPlan(
        host=parts.hostname or "",
        port=parts.port or (443 if tls else 80),
        tls=tls,
        requests=make_requests(target, bodies),
        connections=connections,
        seconds=seconds,
        rate=rate or 0.0,
        arrivals=arrivals.value,
    )
    tally, interrupted = _run(plan, count)
    summary = summarise(
        plan,
        tally,
        model=ref,
        url=target.address.url,
        protocol=protocol.value,
        rows=rows,
        processes=count,
        shared=target.address.loopback,
        interrupted=interrupted,
    )
    if json:
        print_json(summary)
    else:
        print_summary(summary)
    if png is not None:
        write_png(summary, Path(png))
        if not json:
            say(f"picture      {png}")
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not summary.answered:
        raise typer.Exit(ExitCode.FAILURE)


def _check(
    connections: int, seconds: float, rate: float | None, rows: int, processes: int | None
) -> int:
    """Checks the figures; returns the number of processes."""
    if not 1 <= connections <= MOST_CONNECTIONS:
        raise invalid(f"--connections {connections}: expected 1 to {MOST_CONNECTIONS}")
    if not 0 < seconds <= 86_400:
        raise invalid(f"--seconds {seconds:g}: expected above 0 and at most 86400")
    if rate is not None and not 0 < rate <= 1_000_000:
        raise invalid(f"--rate {rate:g}: expected requests a second above 0, at most 1000000")
    if not 1 <= rows <= MOST_ROWS:
        raise invalid(f"--rows {rows}: expected 1 to {MOST_ROWS}")
    if processes is None:
        # The server wants cores, too, where it is this machine's.
        processes = max(_cores() // 2, 1)
    if processes < 1:
        raise invalid(f"--processes {processes}: expected 1 or more")
    return min(processes, connections)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(plan: LoadPlan, processes: int) -> tuple[Tally, bool]:
    """Runs the plan, with a bar on a terminal."""
    from maas.client.load.run import run

    if not sys.stderr.isatty():
        return run(plan, processes, lambda _seconds: None)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("measuring"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=plan.seconds)
        return run(plan, processes, lambda done: bar.update(task, completed=done))


def _target(
    ref: str, protocol: Wire, file: str | None, url: str | None, key: str | None
) -> tuple[Target, dict[str, np.ndarray] | None]:
    """Asks what the model takes, and reads the rows that are to be sent."""
    from maas.cli.predict import read_content
    from maas.cli.rows import read_input
    from maas.client.address import find_address
    from maas.client.load.bodies import Target
    from maas.client.values import fit_inputs
    from maas.core.identity import parse_ref

    target = parse_ref(ref)
    with options.connect(url, key) as client:
        known = client.metadata(ref)
    address = find_address(url, key, os.environ)
    given = None
    if file is not None:
        content, name = read_content(file)
        given, _ = fit_inputs(known.inputs, read_input(content, known.inputs, name))
    return Target(address, target, known, protocol.value), given
