"""Real children in the sandbox: each test says what to try, and reads what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maas.sandbox import sandbox_environment

PROLOGUE = """
import ctypes, errno, json, os, socket, sys
import maas.sandbox
from maas.sandbox import Confinement, confine
libc = ctypes.CDLL(None, use_errno=True)
tried = {}

def attempt(name, call):
    try:
        call()
    except OSError as error:
        tried[name] = errno.errorcode.get(error.errno, str(error.errno))
    else:
        tried[name] = "done"

def syscall(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
"""
EPILOGUE = """
print(json.dumps(tried))
"""


class Child:
    """Runs code in a confined process.

    Args:
        folder: holds what there is: `own` may be written, `model` may be read, the rest neither.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.own = folder / "own"
        self.model = folder / "model"
        self.outside = folder / "outside"
        for one in (self.own, self.model, self.outside):
            one.mkdir()
        (self.model / "weights").write_text("weights")
        self.secret = self.outside / "owner.key"
        self.secret.write_text("secret")
        self.secret.chmod(0o600)

    def run(
        self,
        code: str,
        before: str = "",
        threads: int = 1,
        cpu_s: int = 0,
        file_bytes: int = 1 << 24,
        timeout_s: float = 60,
        listens: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Runs `before`, enters the sandbox, and runs `code`."""
        names = {name: str(getattr(self, name)) for name in ("own", "model", "outside", "secret")}
        confine = (
            f"said = confine(Confinement(({str(self.model)!r},), ({str(self.own)!r},), "
            f"{cpu_s}, {file_bytes}, listens={listens}))\n"
        )
        return subprocess.run(
            [
                *(sys.executable, "-P", "-s", "-c"),
                PROLOGUE + f"globals().update({names!r})\n" + before + confine + code + EPILOGUE,
            ],
            env=sandbox_environment(os.environ, str(self.own), threads),
            cwd=self.own,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def tries(self, code: str, **about: Any) -> dict[str, str]:
        """What came of each `attempt(name, call)`: `done`, or the name of the error."""
        done = self.run(code, **about)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found


Tries = Callable[..., dict[str, str]]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(tmp_path)
