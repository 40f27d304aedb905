"""The model within a folder that was made for another server, examined as what it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from maas.core.errors import invalid
from maas.publish.child import examine
from maas.publish.detect import detect
from maas.publish.messages import Emit, Finding, Job

NOT_INSIDE = frozenset({"mlflow", "triton", "python", "upstream"})
"""Formats that are a way of publishing, not a model's form."""
GIVEN = "given"
"""The folder of the work folder with what is made for an examination: samples, modules."""


def inner_job(job: Job, path: Path) -> Job:
    """The job of examining one file or folder of a published folder.

    Args:
        job: of the whole folder.
        path: inside it, by `inside`.

    Raises:
        MaasError: INVALID_ARGUMENT: what it looks like, and what is accepted; code without
            `--trust`.
    """
    found = detect(path, path.name, job.trust)
    if found.format in NOT_INSIDE:
        raise invalid(
            f"{path.name[:60]!r} in the folder is itself published as {found.format}, not as a "
            "part of it; publish that alone"
        )
    source, entry = path, found.entry if path.is_dir() else ""
    if found.format == "onnx" and not entry:
        # Its external data lies beside it.
        source, entry = path.parent, path.name
    return msgspec.structs.replace(job, format=found.format, source=str(source), entry=entry)


def given_folder(job: Job) -> Path:
    """The folder for what is made for an examination."""
    folder = Path(job.work) / GIVEN
    folder.mkdir(exist_ok=True)
    return folder


def examine_inner(job: Job, emit: Emit) -> Finding:
    """Examines it from a clean start: an attempt before may have left files behind.

    Args:
        job: of `inner_job`; what was put into `GIVEN` stays.
        emit: hears of progress.

    Raises:
        MaasError: as the examination of its format.
    """
    for folder in (job.artifact, job.work):
        for child in Path(folder).iterdir():
            if child.name == GIVEN:
                continue
            if child.is_dir():
                shutil.rmtree(child)
            else:
                child.unlink()
    return examine(job, emit)
