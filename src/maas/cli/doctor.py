"""`maas doctor`: what this machine lacks, and the cure for each."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from maas.cli import checks, options
from maas.cli.output import ExitCode, print_json, say
from maas.settings import load_settings


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor", epilog="Example: maas doctor --json")(doctor)


def doctor(url: options.Url = None, key: options.Key = None, json: options.Json = False) -> None:
    """Check this machine and the server; exit 1 if something fails."""
    home = Path(load_settings({}, os.environ).paths.home)
    found = [
        checks.check_python(),
        checks.check_libpython(),
        checks.check_front(),
        *checks.check_extras(),
        checks.check_gpu(),
        checks.check_home(home),
        checks.check_owner_key(home),
        checks.check_server(url, key),
        *checks.check_models(url, key),
        *checks.check_imports(url, key),
    ]
    if json:
        print_json(found)
    else:
        for check in found:
            say(f"{check.status:<5} {check.name:<12} {check.detail}")
            if check.cure:
                say(f"{'':<5} {'':<12} cure: {check.cure}")
    if any(check.status is checks.Status.FAIL for check in found):
        raise typer.Exit(ExitCode.FAILURE)
