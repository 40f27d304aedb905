"""MLflow's `python_function` models: opened and asked by MLflow itself, in the sandbox for life.

arrays ─▶ a DataFrame or arrays, as the model's signature says ─▶ predict ─▶ arrays
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Artifact, Device, Resources
from maas.runtimes.python import PythonServable, RawModel
from maas.runtimes.python_source import CODE, in_words, missing_module, search_here
from maas.runtimes.text import to_str

MIB = 1 << 20
FORM = "mlflow.json"
"""The file of an artifact with how the model wants its rows."""
INPUT, OUTPUT = "input", "output"
"""The names of the only input and output, where the signature gives them none."""
log = logging.getLogger("maas.model")


class MlflowField(Struct, frozen=True):
    """One column of the table, or one of the tensors, that a model takes.

    Args:
        name: the input's; `""` where the signature gives its only one none.
        kind: MLflow's type of a column; of a tensor `string`, or empty for numbers.
    """

    name: str
    kind: str


class MlflowForm(Struct, frozen=True):
    """How a model wants its rows.

    Args:
        table: as a DataFrame; else as one array, or arrays by name.
        fields: its columns or tensors.
        output: the name of an answer that comes without one.
    """

    table: bool
    fields: tuple[MlflowField, ...]
    output: str = OUTPUT


class MlflowRuntime:
    """Serves `mlflow` artifacts: a model's folder as MLflow wrote it."""

    name = "mlflow"
    platform = "mlflow"
    formats = frozenset({"mlflow"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """Four times the files, and 512 MiB for MLflow, pandas and the model's own libraries.

        What the code takes beyond that nobody knows; the watchdog bounds it.
        """
        files = sum(f.stat().st_size for f in Path(artifact.path).rglob("*") if f.is_file())
        return Resources(memory_bytes=4 * files + 512 * MIB)

    def load(self, artifact: Artifact, device: Device) -> PythonServable:
        """Opens the model, which may run any code; only ever in the sandbox.

        Raises:
            MaasError: FAILED_PRECONDITION with what is missing or wrong.
        """
        search_here(Path(artifact.path) / CODE)
        form = msgspec.json.decode((Path(artifact.path) / FORM).read_bytes(), type=MlflowForm)
        return PythonServable(open_pyfunc(artifact.file.parent, form), artifact.signatures)


def require_mlflow() -> None:
    """Makes sure that MLflow and pandas are here.

    Raises:
        MaasError: FAILED_PRECONDITION with the command that installs them.
    """
    missing = [name for name in ("mlflow", "pandas") if find_spec(name) is None]
    if missing:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            "the MLflow model has code of its own (python_function), which MLflow itself opens, "
            f"and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed "
            "where the server runs: pip install mlflow-skinny pandas",
        )


def open_pyfunc(folder: Path, form: MlflowForm) -> MlflowModel:
    """Opens a `python_function` model. It may run any code.

    Args:
        folder: with `MLmodel`.
        form: how it wants its rows.

    Raises:
        MaasError: FAILED_PRECONDITION with what is missing or wrong.
    """
    require_mlflow()
    # MLflow would otherwise ask a server of its own how it is used, and look for one of yours.
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="true",
        MLFLOW_TRACKING_URI=f"file://{Path.cwd()}/mlruns",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other versions: the report says so
            import mlflow.pyfunc

            return MlflowModel(mlflow.pyfunc.load_model(str(folder)), form)
    except ModuleNotFoundError as error:
        raise missing_module(error, "the MLflow model") from error
    except (Exception, SystemExit) as error:
        log.warning("the MLflow model could not be opened", exc_info=error)
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"the MLflow model could not be opened: {in_words(error)}",
        ) from error


class MlflowModel(RawModel):
    """A `python_function` model, called as one of ours is.

    Args:
        model: an `mlflow.pyfunc.PyFuncModel`.
        form: how it wants its rows.
    """

    def __init__(self, model: Any, form: MlflowForm):
        self._model = model
        self._form = form

    def infer(self, **inputs: np.ndarray) -> dict[str, Any]:
        """Answers one call or batch.

        Raises:
            ValueError: the values are not what the signature says.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one a call, about types
            return named(self._ask(inputs), self._form.output)

    def _ask(self, inputs: Mapping[str, np.ndarray]) -> object:
        from mlflow.exceptions import MlflowException

        try:
            return self._model.predict(self._rows(inputs))
        except MlflowException as error:
            if error.error_code == "BAD_REQUEST" or "schema" in str(error):
                raise ValueError(str(error)) from error
            raise

    def _rows(self, inputs: Mapping[str, np.ndarray]) -> Any:
        values = {
            field.name: _values(field, inputs[field.name or INPUT]) for field in self._form.fields
        }
        if self._form.table:
            import pandas as pd

            return pd.DataFrame({name or 0: column for name, column in values.items()})
        return values.get("", values)


def _values(field: MlflowField, array: np.ndarray) -> np.ndarray:
    """An input as pandas is to have it."""
    if field.kind == "string":
        return to_str(field.name or INPUT, array)
    if field.kind == "datetime":
        return to_str(field.name or INPUT, array).astype("datetime64[ns]")
    return array


def named(answers: object, name: str) -> dict[str, Any]:
    """What `predict` returned, as arrays by output name.

    Args:
        answers: a DataFrame, Series, array, list, dictionary of those, or one value.
        name: of what comes without a name.

    Raises:
        MaasError: INVALID_ARGUMENT for anything else.
    """
    if type(answers).__name__ == "DataFrame":
        return {str(column): _array(values) for column, values in answers.items()}  # type: ignore[attr-defined]
    if isinstance(answers, dict):
        return {str(key): _array(value) for key, value in answers.items()}
    return {name: _array(answers)}


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "toarray"):
        value = value.toarray()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise invalid(
            "the model answers with lists of different lengths; expected one shape for every row"
        ) from error
    if array.dtype.kind == "M":
        return array.astype(str)
    if array.dtype == object and all(isinstance(v, float | int) for v in array.ravel().tolist()):
        return array.astype(np.float64)
    return array
