"""Chooses what of an MLflow model is served: a form that is data before one that is code.

onnx ▸ sklearn ▸ keras ▸ tensorflow ▸ xgboost ▸ lightgbm ▸ pytorch ▸ pickles ▸ python_function
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.reviewed import REVIEWED
from maas.publish.detect import detect
from maas.publish.detect_file import head_of, is_code
from maas.publish.detect_folder import MLMODEL, inside
from maas.publish.mlflow_model import MlflowFolder
from maas.publish.pickles import looks_like_pickle, unpacked_head

PYFUNC = "python_function"
PLACES = {
    "onnx": ("data",),
    "sklearn": ("pickled_model",),
    "keras": ("data",),
    "tensorflow": ("saved_model_dir", "data"),
    "xgboost": ("data",),
    "lightgbm": ("data",),
    "pytorch": ("model_data",),
}
"""Flavours in the order they are preferred in → the keys that may name their file or folder.
Source: `save_model` of each flavour in MLflow."""
WITHIN = ("model.keras", "model.pt2", "model", "model.pth", "model.h5")
"""What a flavour's folder holds, data first."""


class Chosen(Struct, frozen=True):
    """What is served.

    Args:
        flavor: its flavour.
        path: its file or folder; None for `python_function`, which is the whole folder.
        code: folders of modules that travel with it (MLflow's `code_paths`).
    """

    flavor: str
    path: Path | None
    code: tuple[Path, ...]


def choose_flavor(model: MlflowFolder, trust: bool) -> Chosen:
    """Chooses among the flavours.

    Args:
        model: what `MLmodel` says.
        trust: whether code may be served.

    Raises:
        MaasError: INVALID_ARGUMENT where there is none that is served, or it is code and not
            trusted; as `inside`.
    """
    found = []
    for flavor in PLACES:
        if flavor in model.flavors:
            path = _path(model, flavor)
            if path is not None:
                found.append((_is_pickle(path), flavor, path))
    code = _code(model)
    own = trust and PYFUNC in model.flavors
    for _, flavor, path in sorted(found, key=lambda each: each[0]):
        if PYFUNC in model.flavors and _is_module(path, trust):
            if not trust:
                raise is_code(f"the MLflow model's {flavor} form is a pickled module")
            continue
        unknown = _unreviewed(model.flavors[flavor])
        if not unknown:
            return Chosen(flavor, path, code)
        if not own:
            raise invalid(
                f"the MLflow model's {flavor} form is made of types that are not reviewed "
                f"({', '.join(unknown[:4])}); publish it with --trust, which has MLflow itself "
                "open it in the sandbox, or publish it in its library's own format"
            )
    names = ", ".join(sorted(model.flavors)[:8])
    if PYFUNC not in model.flavors:
        raise invalid(
            f"the MLflow model has the flavors {names}, none of which is served here; accepted are "
            f"{', '.join(PLACES)} and {PYFUNC} (with --trust)"
        )
    if not trust:
        raise is_code(f"the MLflow model has the flavors {names}: it is served by its own Python")
    return Chosen(PYFUNC, None, code)


def _path(model: MlflowFolder, flavor: str) -> Path | None:
    """A flavour's file or folder; None where `MLmodel` does not name it.

    Raises:
        MaasError: INVALID_ARGUMENT where it names something else.
    """
    said = model.flavors[flavor]
    name = next((said[key] for key in PLACES[flavor] if isinstance(said.get(key), str)), None)
    if name is None:
        return None
    path = inside(model.folder, name, MLMODEL)
    if not path.is_dir() or (path / "saved_model.pb").is_file():
        return path
    held = next((each for each in WITHIN if (path / each).exists()), None)
    if held is None:
        raise invalid(
            f"{MLMODEL} keeps its {flavor} model in {name[:60]!r}, which holds none of "
            f"{', '.join(WITHIN)}; publish the whole folder"
        )
    return inside(model.folder, f"{name}/{held}", MLMODEL)


def _is_pickle(path: Path) -> bool:
    if path.is_dir():
        return False
    head = head_of(path)
    return path.suffix == ".pth" or looks_like_pickle(head) or unpacked_head(head) is not None


def _is_module(path: Path, trust: bool) -> bool:
    """Whether a file is a module of PyTorch's that was pickled, and no TorchScript."""
    if path.suffix != ".pth":
        return False
    try:
        return detect(path, path.name, trust).format != "torchscript"
    except MaasError:
        return True


def _unreviewed(said: dict[str, Any]) -> tuple[str, ...]:
    """Types of a skops file that MLflow was told to trust and that are not known here."""
    types = said.get("skops_trusted_types")
    if said.get("serialization_format") != "skops" or not isinstance(types, list):
        return ()
    if not str(said.get("data", said.get("pickled_model"))).endswith(".skops"):
        return ()
    return tuple(
        sorted({str(each)[:80] for each in types} - {*REVIEWED, "collections.OrderedDict"})
    )


def _code(model: MlflowFolder) -> tuple[Path, ...]:
    names = {said.get("code") for said in model.flavors.values()}
    found = [
        inside(model.folder, name, MLMODEL)
        for name in sorted(name for name in names if isinstance(name, str))
    ]
    return tuple(path for path in found if path.is_dir())
