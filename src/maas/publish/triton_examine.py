"""Examines a Triton model's folder: what is in it, held against what `config.pbtxt` says."""

from __future__ import annotations

from pathlib import Path

import msgspec

from maas.core.signature import main_signature
from maas.publish.folder_inner import examine_inner, inner_job
from maas.publish.messages import Emit, Finding, Job
from maas.publish.triton_config import check_config, with_labels
from maas.publish.triton_folder import TritonFolder, read_folder
from maas.publish.triton_names import NUMBERED, rename, torch_sample
from maas.publish.triton_python_examine import examine_triton_python


def examine_triton(job: Job, emit: Emit) -> Finding:
    """Takes the highest version of a Triton model to what will be served.

    Raises:
        MaasError: one sentence that says what is wrong with it, or not served and why.
    """
    emit("scan", "reading its configuration", 0.05)
    model = read_folder(Path(job.source))
    if model.backend == "python":
        finding = examine_triton_python(model, job, emit)
    else:
        finding = _examine_file(model, job, emit)
    return msgspec.structs.replace(finding, warnings=(*_which(model), *finding.warnings))


def _examine_file(model: TritonFolder, job: Job, emit: Emit) -> Finding:
    """Any other backend: its file is one of ours as well."""
    inner = inner_job(job, model.file)
    if inner.format == "torchscript":
        inner = torch_sample(model, inner)
    finding = examine_inner(inner, emit)
    if model.backend in NUMBERED:
        finding = rename(model, finding, job)
    main = main_signature(finding.signatures)
    check_config(model, main)
    outputs, notes = with_labels(model, main.outputs)
    signature = msgspec.structs.replace(main, outputs=outputs)
    return msgspec.structs.replace(
        finding,
        signatures={**finding.signatures, signature.name: signature},
        warnings=(*finding.warnings, *notes),
    )


def _which(model: TritonFolder) -> tuple[str, ...]:
    if not model.others:
        return ()
    others = ", ".join(map(str, model.others[:10]))
    return (
        f"this is version {model.version} of the Triton model, the highest; {others} "
        f"{'is' if len(model.others) == 1 else 'are'} left out (maas serve --model-repository "
        "takes them all)",
    )
