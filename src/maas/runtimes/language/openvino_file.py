"""A stored GGUF, opened as OpenVINO does it: for writing, too, though nothing is written."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def openable(file: Path) -> Iterator[None]:
    """Lets this user write to a file for a moment, where it is read-only as stored ones are.

    Processes that load the same file do so one after another.
    """
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if os.access(file, os.W_OK):
            yield
            return
        mode = stat.S_IMODE(os.fstat(held.fileno()).st_mode)
        os.fchmod(held.fileno(), mode | stat.S_IWUSR)
        try:
            yield
        finally:
            os.fchmod(held.fileno(), mode)
