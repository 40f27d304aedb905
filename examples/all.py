"""Runs every example whose model the server does not have yet; `scripts/serve` does so at start.

`--all` adds those that need the extra `tensorflow`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from maas import Client

SMALL = {"iris": "iris", "digits": "digits", "chinese": "topics", "assistant": "assistant"}
"""Script → the model it publishes."""
LARGE = {"keras_classifier": "clf", "image": "my_model"}


def main() -> None:
    """Publishes what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="also those that need TensorFlow")
    examples = SMALL | LARGE if parser.parse_args().all else SMALL
    with Client() as client:
        published = {model.name for model in client.models()}
    for script, model in examples.items():
        if model not in published:
            print(f"training and publishing the example {model}", flush=True)
            path = Path(__file__).with_name(f"{script}.py")
            # A process each: what a framework holds while it trains is given back afterwards.
            subprocess.run([sys.executable, str(path)], check=True)


if __name__ == "__main__":
    main()
