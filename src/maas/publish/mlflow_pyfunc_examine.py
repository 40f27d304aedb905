"""Examines an MLflow model of the python_function flavor: MLflow itself answers. Runs in the child.

copy → form from the signature → open with MLflow → samples → proof → timing
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np

from maas.core.errors import invalid
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType, TensorSpec
from maas.publish.code_folder import keep_code
from maas.publish.detect_folder import MLMODEL
from maas.publish.messages import Emit, Finding, Job
from maas.publish.mlflow_model import Field, MlflowFolder
from maas.publish.python_prove import prove_python
from maas.publish.python_signature import Form
from maas.publish.versions import read_with
from maas.runtimes.mlflow_pyfunc import (
    FORM,
    INPUT,
    OUTPUT,
    MlflowField,
    MlflowForm,
    open_pyfunc,
    require_mlflow,
)
from maas.runtimes.tensorfile import PROVING, write_tensors

FOLDER = "model"
"""The folder of the artifact with the model's own."""
COLUMNS = {
    "boolean": DType.BOOL,
    "integer": DType.INT32,
    "long": DType.INT64,
    "float": DType.FP32,
    "double": DType.FP64,
    "string": DType.BYTES,
    "binary": DType.BYTES,
    "datetime": DType.BYTES,
}
"""MLflow's types of columns that a tensor [n] carries; a datetime travels as ISO 8601 text."""


def examine_pyfunc(model: MlflowFolder, job: Job, emit: Emit) -> Finding:
    """Takes a `python_function` model to what will be served: itself, with a proven signature.

    Raises:
        MaasError: one sentence that says what is wrong with it or missing.
    """
    require_mlflow()
    form, inputs = _form(model)
    place = Path(job.artifact) / FOLDER
    shutil.copytree(
        model.folder, place, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
    )
    (Path(job.artifact) / FORM).write_bytes(msgspec.json.encode(form))
    keep_code(job)

    emit("inspect", "opening it with MLflow", 0.2)
    opened = open_pyfunc(place, form)
    symbols = {
        spec.name: tuple("n" if axis == 0 else "" for axis in range(len(spec.shape)))
        for spec in inputs
    }
    proven = prove_python(opened, Form(inputs, symbols, None), job, emit)
    write_tensors(Path(job.artifact) / PROVING, {DEFAULT_SIGNATURE: proven.call})
    return Finding(
        engine="mlflow",
        format="mlflow",
        entry=f"{FOLDER}/{MLMODEL}",
        signatures={DEFAULT_SIGNATURE: proven.signature},
        lowered=False,
        reason="its python_function is served by MLflow itself, in the sandbox",
        written_with={},
        read_with=read_with("mlflow-skinny", "mlflow", "pandas", "cloudpickle"),
        parity=None,
        batch_note=proven.batch_note,
        timings=(msgspec.structs.replace(proven.timing, engine="mlflow"),),
        warnings=(*_notes(model), *proven.warnings),
    )


def _form(model: MlflowFolder) -> tuple[MlflowForm, tuple[TensorSpec, ...]]:
    """How the model wants its rows, and the tensors that callers give.

    Raises:
        MaasError: INVALID_ARGUMENT where its signature does not say, or has what no tensor carries.
    """
    said = model.signature
    if not said.inputs:
        raise invalid(
            f"{MLMODEL} has no signature, so nothing says what the model takes; save it again with "
            "signature=mlflow.models.infer_signature(…) or with input_example="
        )
    if any(not field.label for field in said.inputs) and len(said.inputs) > 1:
        raise invalid(f"the signature in {MLMODEL} has inputs without names; save it with names")
    inputs = tuple(map(_column if said.is_table else _tensor, said.inputs))
    fields = tuple(
        MlflowField(field.label, field.type if said.is_table else _kind(spec))
        for field, spec in zip(said.inputs, inputs, strict=True)
    )
    names = [field.label for field in said.outputs]
    output = names[0] if len(names) == 1 and names[0] else OUTPUT
    return MlflowForm(said.is_table, fields, output), inputs


def _column(field: Field) -> TensorSpec:
    dtype = COLUMNS.get(field.type)
    if dtype is None:
        raise invalid(
            f"the signature's column {field.label[:60]!r} is of type {field.type[:20]!r}, which no "
            f"tensor carries; expected {', '.join(COLUMNS)}"
        )
    return TensorSpec(field.label or INPUT, dtype, (None,))


def _tensor(field: Field) -> TensorSpec:
    assert field.tensor is not None
    try:
        dtype = DType.of(np.dtype(field.tensor.dtype))
    except (TypeError, ValueError):
        raise invalid(
            f"the signature's tensor {field.label[:60]!r} has the dtype "
            f"{field.tensor.dtype[:20]!r}, which no protocol carries"
        ) from None
    shape = tuple(None if size == -1 else size for size in field.tensor.shape)
    return TensorSpec(field.label or INPUT, dtype, shape)


def _kind(spec: TensorSpec) -> str:
    return "string" if spec.dtype is DType.BYTES else ""


def _notes(model: MlflowFolder) -> tuple[str, ...]:
    said, notes = model.signature, []
    if said.params:
        names = ", ".join(said.params[:6])
        notes.append(f"the parameters of its signature ({names}) keep their defaults")
    optional = [field.label for field in said.inputs if not field.required]
    if optional:
        names = ", ".join(optional[:6])
        notes.append(f"optional columns are not left out here, every call gives them: {names}")
    return tuple(notes)
