"""kill -9 at random moments of publishing: whole versions or none, and none that is lost."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest


def drill(home: Path, rounds: int) -> None:
    seed = random.SystemRandom().randrange(10**6)
    script = Path(__file__).with_name("crashing.py")
    ended = subprocess.run(
        [sys.executable, str(script), str(home), str(rounds), str(seed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"seed {seed}\n{ended.stderr}"
    # Killed so early that nothing was acknowledged would have proven nothing.
    assert int(ended.stdout) >= rounds, f"seed {seed}"


def test_twenty_kills(home: Path) -> None:
    drill(home, 20)


@pytest.mark.slow
def test_two_hundred_kills(home: Path) -> None:
    drill(home, 200)
