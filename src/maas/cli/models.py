"""`maas models`, `delete`, `alias`, `rollback`, `deploy`: what there is, and what serves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli import options
from maas.cli.output import note, print_json, print_table, say
from maas.core.errors import invalid

if TYPE_CHECKING:
    from maas.core.records import ModelRecord


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("models", epilog="Example: maas models --json")(models)
    app.command("delete", epilog="Example: maas delete iris:2")(delete)
    app.command("alias", epilog="Example: maas alias iris prod 2")(alias)
    app.command("rollback", epilog="Example: maas rollback iris")(rollback)
    app.command("deploy", epilog="Example: maas deploy iris --traffic 3=100")(deploy)


def models(url: options.Url = None, key: options.Key = None, json: options.Json = False) -> None:
    """List the models: what serves, and why something does not."""
    with options.connect(url, key) as client:
        found = client.models()
    if json:
        print_json(found)
    elif not found:
        note("no model yet; publish one: maas publish PATH --name NAME")
    else:
        headers = ("NAME", "SERVING", "DEFAULT", "VERSIONS", "ALIASES", "STATE", "REASON")
        print_table(headers, [_row(model) for model in found])


def delete(
    ref: options.Ref,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Delete one version, or a model with all its versions."""
    target = options.parse_target(ref)
    what = f"version {target.version} of {target.name}" if target.version is not None else None
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Delete {what or f'{target.name} with all its versions'}?", abort=True)
    with options.connect(url, key) as client:
        before = client.model(target.name) if target.version is not None else None
        client.delete(target.name, target.version)
    if json:
        print_json({"name": target.name, "version": target.version})
        return
    say(f"deleted {what or target.name}")
    if before is None or before.default_version != target.version:
        return
    left = [one.version for one in before.versions if one.version != target.version]
    if left and before.previous_version is None:
        note(
            f"nothing answers calls of {target.name} that name no version now; choose one: "
            f"maas deploy {target.name} --traffic {max(left)}=100"
        )


def alias(
    name: options.Name,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as prod.")],
    version: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="Where it points.")
    ] = None,
    remove: Annotated[bool, typer.Option("--delete", help="Take the alias away.")] = False,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Point an alias at a version: calls to NAME@ALIAS go there."""
    if remove == (version is not None):
        raise invalid("give a VERSION to point at, or --delete to take the alias away")
    with options.connect(url, key) as client:
        if version is None:
            model = client.delete_alias(name, alias)
        else:
            model = client.alias(name, alias, version)
    if json:
        print_json(model)
    elif version is None:
        say(f"{name} has no alias {alias} any more")
    else:
        say(f"{name}@{alias} is version {version}")


def rollback(
    name: options.Name,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Go back to the version that served before."""
    with options.connect(url, key) as client:
        model = client.rollback(name)
    if json:
        print_json(model)
    else:
        say(f"{name} goes back to version {model.default_version}")


def deploy(
    name: options.Name,
    traffic: Annotated[
        str, typer.Option("--traffic", metavar="VERSION=100", help="Where unversioned calls go.")
    ],
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Send unversioned calls to a version; it is loaded first."""
    shares: dict[int, int] = {}
    for part in traffic.split(","):
        version, equals, share = part.strip().partition("=")
        if not (equals and version.isdecimal() and share.isdecimal()):
            raise invalid(f"--traffic {traffic!r} is not VERSION=PERCENT, such as 3=100")
        shares[int(version)] = int(share)
    with options.connect(url, key) as client:
        model = client.deploy(name, shares)
    if json:
        print_json(model)
    else:
        say(f"calls to {name} go to version {model.serving_version}")


def _row(model: ModelRecord) -> tuple[str, ...]:
    aliases = ", ".join(f"{name}={version}" for name, version in sorted(model.aliases.items()))
    return (
        model.name,
        _number(model.serving_version),
        _number(model.default_version),
        ", ".join(str(version.version) for version in model.versions),
        aliases or "-",
        model.state,
        model.reason or "-",
    )


def _number(version: int | None) -> str:
    return "-" if version is None else str(version)
