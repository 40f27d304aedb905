"""`maas keys`: who may call, publish and manage."""

from __future__ import annotations

from typing import Annotated

import typer

from maas.cli import options
from maas.cli.output import note, print_json, print_table, say
from maas.core.records import Role


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(
        help="Make, list and revoke keys.",
        epilog="Example: maas keys create --name anna --role caller",
        rich_markup_mode=None,
    )
    group.command("create", epilog="Example: maas keys create --name anna --role caller")(create)
    group.command("list", epilog="Example: maas keys list --json")(list_keys)
    group.command("revoke", epilog="Example: maas keys revoke ID, from maas keys list")(revoke)
    app.add_typer(group, name="keys")


def create(
    name: Annotated[str, typer.Option("--name", help="Whose or what for.")],
    role: Annotated[Role, typer.Option("--role", help="What it may do.")] = Role.CALLER,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Make a key and print it, this once."""
    with options.connect(url, key) as client:
        made = client.create_key(name, role)
    if json:
        print_json(made)
        return
    say(made.key)
    note(f"key {made.record.id} for {made.record.name} ({made.record.role}); it is shown only now")


def list_keys(url: options.Url = None, key: options.Key = None, json: options.Json = False) -> None:
    """List the keys; never the keys themselves."""
    with options.connect(url, key) as client:
        found = client.keys()
    if json:
        print_json(found)
        return
    rows = [(k.id, k.name, k.role, k.created_at, k.revoked_at or "-") for k in found]
    print_table(("ID", "NAME", "ROLE", "CREATED", "REVOKED"), rows)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="From maas keys list.")],
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Revoke a key: from then on it is refused."""
    with options.connect(url, key) as client:
        record = client.revoke_key(key_id)
    if json:
        print_json(record)
    else:
        say(f"revoked key {record.id} of {record.name}")
