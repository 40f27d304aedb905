"""An MLflow model's `MLmodel`: its flavours, its signature, its example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from maas.core.errors import invalid
from maas.publish.detect_folder import MLMODEL
from maas.publish.mlflow_yaml import read_yaml

MOST_COLUMNS = 10_000
MOST_AXES = 32


class TensorPart(Struct, frozen=True):
    """`tensor-spec` of a signature: a NumPy dtype, and sizes with -1 where any goes."""

    dtype: str
    shape: tuple[int, ...]


class Field(Struct, frozen=True, rename={"tensor": "tensor-spec"}):
    """One input or output of a signature.

    Args:
        type: `double`, `string`, … of a column, `tensor` of a tensor, `array`, `map`, `object`.
        name: absent where there is only one.
        required: whether a call may leave it out.
        tensor: of a tensor.
    """

    type: str
    name: str | int | None = None
    required: bool = True
    tensor: TensorPart | None = None

    @property
    def label(self) -> str:
        """The name; empty where there is none. Columns of a table without names have numbers."""
        return "" if self.name is None else str(self.name)


class MlflowSignature(Struct, frozen=True):
    """What the model says it takes and gives; empty where it does not say."""

    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    params: tuple[str, ...] = ()

    @property
    def is_table(self) -> bool:
        """Whether the inputs are the columns of a table."""
        return bool(self.inputs) and all(field.tensor is None for field in self.inputs)


class MlflowFolder(Struct, frozen=True):
    """What `MLmodel` says.

    Args:
        folder: the model's.
        flavors: flavour → what is said of it.
        signature: empty where none was saved.
        example: `saved_input_example_info`; empty where none was saved.
        written_with: MLflow's version and the model's id.
    """

    folder: Path
    flavors: dict[str, dict[str, Any]]
    signature: MlflowSignature
    example: dict[str, Any]
    written_with: dict[str, str]


class _Param(Struct, frozen=True):
    name: str


def read_model(folder: Path) -> MlflowFolder:
    """Reads `MLmodel`.

    Raises:
        MaasError: INVALID_ARGUMENT, saying what in it is wrong, TOO_LARGE.
    """
    said = read_yaml(folder / MLMODEL)
    flavors = said.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise invalid(f"{MLMODEL} names no flavors; save the model again")
    written = {"mlflow": said.get("mlflow_version"), "model_uuid": said.get("model_uuid")}
    example = said.get("saved_input_example_info")
    return MlflowFolder(
        folder=folder,
        flavors={
            str(name): flavor if isinstance(flavor, dict) else {}
            for name, flavor in flavors.items()
        },
        signature=_signature(said.get("signature")),
        example=example if isinstance(example, dict) else {},
        written_with={name: text[:60] for name, text in written.items() if isinstance(text, str)},
    )


def _signature(said: object) -> MlflowSignature:
    if not isinstance(said, dict):
        return MlflowSignature()
    return MlflowSignature(
        inputs=_fields(said, "inputs"),
        outputs=_fields(said, "outputs"),
        params=tuple(param.name for param in _decode(said, "params", tuple[_Param, ...])),
    )


def _fields(said: dict[Any, Any], what: str) -> tuple[Field, ...]:
    fields: tuple[Field, ...] = _decode(said, what, tuple[Field, ...])
    names = [field.label for field in fields]
    wrong = (
        len(fields) > MOST_COLUMNS
        or len(set(names)) != len(names)
        or not all(name.isprintable() for name in names)
        or any((field.type == "tensor") != (field.tensor is not None) for field in fields)
        or len({field.tensor is None for field in fields}) > 1
        or any(
            len(f.tensor.shape) > MOST_AXES or any(size < -1 for size in f.tensor.shape)
            for f in fields
            if f.tensor is not None
        )
    )
    if wrong:
        raise invalid(
            f"the signature's {what} in {MLMODEL} are no columns and no tensors; expected at most "
            f"{MOST_COLUMNS}, each with a name of its own"
        )
    return fields


def _decode(said: dict[Any, Any], what: str, kind: Any) -> Any:
    text = said.get(what)
    if text is None:
        return ()
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, TypeError, RecursionError, UnicodeEncodeError) as error:
        raise invalid(
            f"the signature's {what} in {MLMODEL} cannot be read; expected MLflow's list of "
            "columns or tensors as JSON"
        ) from error
