"""`python -m maas.supervisor --settings FILE`: what `maas serve` becomes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from maas.supervisor.locks import TakenError, check_port, lock_home
from maas.supervisor.server import Supervisor


def main() -> int:
    """Reads the settings, takes the locks and serves; gives the exit status."""
    parser = argparse.ArgumentParser(prog="maas serve")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--then", type=json.loads, default=[])
    arguments = parser.parse_args()
    settings = json.loads(arguments.settings.read_bytes())
    home, run = Path(settings["paths"]["home"]), Path(settings["paths"]["run"])
    server = settings["server"]
    try:
        lock_home(home)
        for host, port in [
            (server["host"], server["port"]),
            *((text.rpartition(":")[0], text.rpartition(":")[2]) for text in server["listen"]),
        ]:
            check_port(host, int(port))
    except TakenError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    logs = home / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    control = [sys.executable, "-m", "maas.control", "--settings", str(arguments.settings)]
    return Supervisor(run, logs, control, arguments.then, server["drain_s"]).serve()


if __name__ == "__main__":
    sys.exit(main())
