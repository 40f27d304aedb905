"""`maas ps` and `maas logs`: what runs, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli import options
from maas.cli.output import print_json, print_table, say, say_json, size_text

if TYPE_CHECKING:
    from maas.core.records import ProcessRecord


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("ps", epilog="Example: maas ps --json")(ps)
    app.command("logs", epilog="Example: maas logs iris -f")(logs)


def ps(url: options.Url = None, key: options.Key = None, json: options.Json = False) -> None:
    """List the processes: models, memory, state and reason."""
    with options.connect(url, key) as client:
        found = client.processes()
    if json:
        print_json(found)
        return
    headers = "ID KIND PID STATE MODELS MEMORY CPU RESTARTS STARTED REASON"
    print_table(headers.split(), [_row(process) for process in found])


def logs(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model; everything's without.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many to show.")] = 200,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Show the log of one model, or of everything."""
    import msgspec

    with options.connect(url, key) as client:
        for line in client.logs(name, lines=lines, follow=follow):
            if json:
                say_json(msgspec.json.encode(line).decode())
            else:
                about = f" [{line.model}]" if line.model else ""
                request = f" (request {line.request_id})" if line.request_id else ""
                say(f"{line.time} {line.level:<7} {line.process}{about} {line.message}{request}")
                for trace in line.exception.splitlines():
                    say(f"    {trace}")


def _row(process: ProcessRecord) -> tuple[str, ...]:
    return (
        process.id,
        process.kind,
        str(process.pid),
        process.state,
        ", ".join(process.models) or "-",
        size_text(process.memory_bytes),
        f"{process.cpu_s:.1f} s",
        str(process.restarts),
        process.started_at,
        process.reason or "-",
    )
