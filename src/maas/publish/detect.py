"""Says what a published file or folder is, from its content; refuses what is not served.

Nothing here runs, unpacks or trusts anything: it reads beginnings, a zip's directory, and the
top-level fields of a protobuf message. Where code may be inside, it is refused without `--trust`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from maas.core.errors import invalid
from maas.publish.detect_file import ACCEPTED, Detected, detect_file
from maas.publish.detect_folder import detect_folder


def detect(path: Path, filename: str, trust: bool = False) -> Detected:
    """Recognises a file or folder.

    Args:
        path: where it lies.
        filename: what the publisher called it; only for messages.
        trust: whether formats that carry code are let through.

    Raises:
        MaasError: INVALID_ARGUMENT: what it looks like, and what is accepted.
    """
    label = _label(filename)
    mode = os.lstat(path).st_mode
    if stat.S_ISDIR(mode):
        return detect_folder(path, label, trust)
    if not stat.S_ISREG(mode):
        raise invalid(f"{label} is not a regular file; {ACCEPTED}")
    return Detected(detect_file(path, label, trust), path.name)


def _label(filename: str) -> str:
    name = filename.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return repr("".join(c if c.isprintable() else "?" for c in name)[:80] or "the file")
