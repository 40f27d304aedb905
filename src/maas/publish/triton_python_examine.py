"""Examines a model of Triton's Python backend: configuration, samples, proof. Runs in the child.

copy → import → auto_complete_config → initialize → samples → proof → timing
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from maas.core.errors import invalid
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import TensorSpec
from maas.publish.code_folder import keep_code
from maas.publish.detect_file import is_code
from maas.publish.detect_folder import CONFIG, version_folders
from maas.publish.messages import Emit, Finding, Job
from maas.publish.pbtxt import as_json, from_json
from maas.publish.python_examine import versions_of
from maas.publish.python_prove import prove_python
from maas.publish.python_signature import Form
from maas.publish.triton_config import specs_of, with_labels
from maas.publish.triton_folder import TritonFolder, check_kind
from maas.runtimes.tensorfile import PROVING, write_tensors
from maas.runtimes.triton_python import (
    ARGUMENTS,
    TritonArguments,
    TritonModel,
    complete,
    open_model,
)

FOLDER = "model"
"""The folder of the artifact with the model's own: Triton's `model_repository`."""
OWN_PYTHON = "EXECUTION_ENV_PATH"


def examine_triton_python(model: TritonFolder, job: Job, emit: Emit) -> Finding:
    """Takes a `TritonPythonModel` to what will be served: itself, with a proven signature.

    Raises:
        MaasError: one sentence that says what is wrong with it.
    """
    if not job.trust:
        raise is_code("the Triton model is of the Python backend")
    if OWN_PYTHON in model.config.parameters:
        raise invalid(
            f"the Triton model brings a Python environment of its own ({OWN_PYTHON}), which is not "
            "opened here; install what it needs where the server runs and take the parameter away"
        )
    file = _store(model, job)
    keep_code(job)

    emit("inspect", "importing it", 0.2)
    kind = open_model(file)
    model, config = _complete(model, kind)
    arguments = TritonArguments(model.config.name or model.folder.name, model.version, config)
    (Path(job.artifact) / ARGUMENTS).write_bytes(msgspec.json.encode(arguments))
    outputs, notes = with_labels(model, specs_of(model, model.config.output))
    form = _form(model, outputs)
    made = TritonModel(kind, file, arguments)
    proven = prove_python(made, form, job, emit)
    made.close()
    write_tensors(Path(job.artifact) / PROVING, {DEFAULT_SIGNATURE: proven.call})
    return Finding(
        engine="triton-python",
        format="triton-python",
        entry=file.relative_to(job.artifact).as_posix(),
        signatures={DEFAULT_SIGNATURE: proven.signature},
        lowered=False,
        reason="a model of Triton's Python backend is served by its own code, in the sandbox",
        written_with={},
        read_with=versions_of(made.__class__),
        parity=None,
        batch_note=proven.batch_note
        if model.batches
        else f"{CONFIG} gives no max_batch_size, so callers never share a batch",
        timings=(msgspec.structs.replace(proven.timing, engine="triton-python"),),
        warnings=(*_optional(model), *notes, *proven.warnings),
    )


def _store(model: TritonFolder, job: Job) -> Path:
    """Copies the one version and what lies beside it; gives the file to import there."""
    place = Path(job.artifact) / FOLDER
    left_out = set(version_folders(model.folder)) - {str(model.version)}

    def ignored(folder: str, names: list[str]) -> set[str]:
        versions = left_out if Path(folder) == model.folder else set()
        return {name for name in names if name == "__pycache__" or name in versions}

    shutil.copytree(model.folder, place, ignore=ignored, symlinks=True)
    return place / model.file.relative_to(model.folder)


def _complete(model: TritonFolder, kind: type[Any]) -> tuple[TritonFolder, dict[str, Any]]:
    """The configuration with what the model's own code adds, where the file leaves tensors out.

    Raises:
        MaasError: INVALID_ARGUMENT where neither says what it takes and gives.
    """
    config = as_json(model.config)
    if not config["input"] or not config["output"]:
        said = from_json(complete(kind, config))
        check_kind(said)
        model = msgspec.structs.replace(model, config=said)
        config = as_json(said)
    for what in ("input", "output"):
        if not config[what]:
            raise invalid(
                f"neither {CONFIG} nor auto_complete_config gives an {what}; expected at least one"
            )
    return model, config


def _form(model: TritonFolder, outputs: tuple[TensorSpec, ...]) -> Form:
    inputs = specs_of(model, model.config.input)
    # Sizes that are left open are each their own; only the batch's are one and the same.
    symbols = {
        spec.name: tuple(
            "n" if model.batches and axis == 0 else "" for axis in range(len(spec.shape))
        )
        for spec in inputs
    }
    return Form(inputs, symbols, outputs, model.batches)


def _optional(model: TritonFolder) -> tuple[str, ...]:
    names = [tensor.name for tensor in model.config.input if tensor.optional]
    if not names:
        return ()
    return (f"optional inputs are not left out here, every call gives them: {', '.join(names)}",)
