"""Examines an MLflow model's folder. Runs in the child.

MLmodel → flavor → its own format's examination → the names of the signature → requirements
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from maas.core.errors import MaasError
from maas.core.signature import main_signature
from maas.publish.folder_inner import examine_inner, given_folder, inner_job
from maas.publish.messages import Emit, Finding, Job
from maas.publish.mlflow_example import ENOUGH, Example, write_example
from maas.publish.mlflow_flavors import PYFUNC, Chosen, choose_flavor
from maas.publish.mlflow_model import MlflowFolder, read_model
from maas.publish.mlflow_pyfunc_examine import examine_pyfunc
from maas.publish.mlflow_requirements import differences
from maas.publish.mlflow_signature import name_inputs

LONGEST = 400
CODE = "code"
"""The folder that collects the modules which travel with the model."""


def examine_mlflow(job: Job, emit: Emit) -> Finding:
    """Takes an MLflow model to what will be served: the flavor that is data, where there is one.

    Raises:
        MaasError: one sentence that says what is wrong with it, or not served and why.
    """
    emit("scan", "reading MLmodel", 0.05)
    model = read_model(Path(job.source))
    chosen = choose_flavor(model, job.trust)
    others = differences(model.folder, chosen.path is None)
    example, unused = (None, "") if job.sample else write_example(model, given_folder(job))
    job = _with_code(job, chosen)
    notes: list[str] = []
    if chosen.path is None:
        finding = _examine_pyfunc(model, example, job, emit)
    else:
        finding, notes = _examine_form(chosen.path, example, job, emit)
        main, found = name_inputs(model.signature, main_signature(finding.signatures))
        notes.extend(found)
        signatures = {**finding.signatures, main.name: main}
        finding = msgspec.structs.replace(finding, signatures=signatures)
        if len(model.flavors.keys() - {PYFUNC}) > 1:
            reason = f"of its MLflow flavors {chosen.flavor} is served: {finding.reason}"
            finding = msgspec.structs.replace(finding, reason=reason)
    return msgspec.structs.replace(
        finding,
        written_with={**model.written_with, **finding.written_with},
        warnings=(*finding.warnings, *notes, *filter(None, [unused]), *others),
    )


def _examine_form(
    path: Path, example: Example | None, job: Job, emit: Emit
) -> tuple[Finding, list[str]]:
    """A form that is one of ours as well, on the model's own example where that proves more.

    An example of one or two rows would show that a model answers, and neither that its rows may be
    run together nor that another form of it agrees: drawn rows show that.
    """
    inner = inner_job(job, path)
    if example is None:
        return examine_inner(inner, emit), []
    given = msgspec.structs.replace(inner, sample=str(example.file), sample_name=example.file.name)
    first, second = (given, inner) if example.rows >= ENOUGH else (inner, given)
    try:
        return examine_inner(first, emit), []
    except MaasError as error:
        try:
            finding = examine_inner(second, emit)
        except MaasError:
            raise error from None
        if first is inner:
            return finding, []
        return finding, [f"the model's input example was not used: {error.message}"[:LONGEST]]


def _examine_pyfunc(model: MlflowFolder, example: Example | None, job: Job, emit: Emit) -> Finding:
    if example is not None:
        job = msgspec.structs.replace(job, sample=str(example.file), sample_name=example.file.name)
    return examine_pyfunc(model, job, emit)


def _with_code(job: Job, chosen: Chosen) -> Job:
    """The job with the model's own modules beside those given with `--code`."""
    if not chosen.code or chosen.path is None:
        return job
    folder = given_folder(job) / CODE
    for source in (*chosen.code, *([Path(job.code)] if job.code else [])):
        shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True)
    return msgspec.structs.replace(job, code=str(folder))
