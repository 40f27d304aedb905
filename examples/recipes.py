"""What the examples share: whether a script has published its model already.

A saved model differs in its bytes each time it is saved, so a version is known by its recipe: the
script it was made by and the versions it was made with. It stands in the version's tags.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path

from maas.client import ApiError, Client
from maas.core.errors import ErrorKind, MaasError


def recipe(script: str, *packages: str, kind: str = "") -> str:
    """What a model is made from, in twelve characters.

    Args:
        script: the file that trains it; the modules beside it count as well.
        packages: the distributions that it is trained with.
        kind: which of the script's models it is.
    """
    path = Path(script)
    digest = hashlib.sha256(path.read_bytes())
    for beside in sorted(path.parent.glob(f"{path.stem}_*.py")):
        digest.update(beside.read_bytes())
    for package in packages:
        digest.update(importlib.metadata.version(package).encode())
    digest.update(kind.encode())
    return digest.hexdigest()[:12]


def published(client: Client, name: str) -> dict[str, int]:
    """A model's versions by their recipe; empty where there is no such model."""
    try:
        versions = client.model(name).versions
    except ApiError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return {}
    return {version.tags.get("recipe", ""): version.version for version in versions}


def run(main: Callable[[Client], None], about: str, arguments: Sequence[str] | None = None) -> None:
    """Runs an example against the server that the command line names.

    Args:
        main: what to do with a client of that server.
        about: the script's description.
        arguments: the command line; the process's own where None.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--url", help="the server; MAAS_URL, else http://127.0.0.1:8080")
    url = parser.parse_args(arguments).url
    try:
        with Client(url) as client:
            main(client)
    except MaasError as error:
        raise SystemExit(f"error: {error}") from None
