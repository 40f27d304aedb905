"""The process of one model that can carry code: `python -m maas.worker`, started by a host.

The socket it inherits is its only connection. It enters the sandbox before it imports anything that
might start a thread, and long before it opens the model. What the model prints goes to stdout and
stderr, which the host reads.
"""

from __future__ import annotations

import argparse

import msgspec

from maas.sandbox import Confinement, confine


def main() -> None:
    """Serves one model until the host closes the connection."""
    parser = argparse.ArgumentParser(prog="maas.worker", description=main.__doc__)
    parser.add_argument("--socket", type=int, required=True, help="an inherited descriptor")
    parser.add_argument("--confinement", required=True, help="a Confinement as JSON")
    arguments = parser.parse_args()
    sandbox = confine(msgspec.json.decode(arguments.confinement, type=Confinement))

    from maas.runtimes.plugins import runtime_for
    from maas.serving.workerloop import serve

    serve(arguments.socket, sandbox, runtime_for)


if __name__ == "__main__":
    main()
