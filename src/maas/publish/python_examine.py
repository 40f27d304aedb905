"""Examines a Python model: requirements, signature, samples, proof. Runs in the child.

copy → requires (read, not run) → import → annotations → load → samples → proof → timing
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from maas.core.pythonmodel import PythonModel
from maas.core.signature import DEFAULT_SIGNATURE
from maas.publish.code_folder import keep_code
from maas.publish.detect_python import requires_in
from maas.publish.messages import Emit, Finding, Job
from maas.publish.python_prove import prove_python
from maas.publish.python_signature import form_of
from maas.publish.versions import read_with
from maas.runtimes.python_source import check_requires, make, open_class, read_settings
from maas.runtimes.tensorfile import PROVING, write_tensors

FOLDER = "model"
"""The folder of the artifact with the model's file, or its folder under its own name."""


def examine_python(job: Job, emit: Emit) -> Finding:
    """Takes a Python file or package to what will be served: itself, with a proven signature.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    emit("scan", "looking at its source", 0.1)
    file = _store(job)
    settings = read_settings(file.parent)
    check_requires(requires_in(file), file.name)
    keep_code(job)

    emit("inspect", "importing it", 0.2)
    model_class = open_class(file, settings)
    form = form_of(model_class, settings)
    model = make(model_class, file.parent)
    proven = prove_python(model, form, job, emit)
    write_tensors(Path(job.artifact) / PROVING, {DEFAULT_SIGNATURE: proven.call})
    return Finding(
        engine="python",
        format="python",
        entry=file.relative_to(job.artifact).as_posix(),
        signatures={DEFAULT_SIGNATURE: proven.signature},
        lowered=False,
        reason="a Python model is served by its own code, in the sandbox",
        written_with={},
        read_with=versions_of(model_class),
        parity=None,
        batch_note=proven.batch_note,
        timings=(proven.timing,),
        warnings=proven.warnings,
    )


def versions_of(model: type[PythonModel]) -> dict[str, str]:
    """Versions here of Python, NumPy and what the model requires."""
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in model.requires]
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {"python": python, **read_with("numpy", *names)}


def _store(job: Job) -> Path:
    """Copies the source and its data to the artifact; gives the file to import there."""
    source, place = Path(job.source), Path(job.artifact) / FOLDER / Path(job.source).name
    place.parent.mkdir()
    if not job.entry:
        return Path(shutil.copyfile(source, place))
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    return place / job.entry
