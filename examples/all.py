"""Runs every example whose model the server does not have yet; `scripts/serve` does so at start."""

from __future__ import annotations

import runpy
from pathlib import Path

from maas import Client

EXAMPLES = ("iris", "digits")


def main() -> None:
    """Publishes what is missing."""
    with Client() as client:
        published = {model.name for model in client.models()}
    for name in EXAMPLES:
        if name not in published:
            print(f"training and publishing the example {name}")
            runpy.run_path(str(Path(__file__).with_name(f"{name}.py")), run_name="__main__")


if __name__ == "__main__":
    main()
