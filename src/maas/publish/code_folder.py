"""The modules that travel with a model: what was given with `--code`."""

from __future__ import annotations

import shutil
from pathlib import Path

from maas.publish.messages import Job
from maas.runtimes.python_source import CODE, search_here


def keep_code(job: Job) -> None:
    """Copies the modules into the artifact and lets this process find them there."""
    if job.code:
        folder = Path(job.artifact) / CODE
        shutil.copytree(
            job.code, folder, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
        )
        search_here(folder)
