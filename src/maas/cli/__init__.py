"""The command line: one module per command group, each talking to a server through the SDK.

Only `serve` starts processes. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations


def main() -> None:
    """Runs the program `maas` on the process's arguments and exits with its code."""
    import sys

    from maas.cli.app import run

    sys.exit(run(sys.argv[1:]))
