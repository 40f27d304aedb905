"""The modules that were published beside a Keras model: its own layers, models and functions."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from maas.core.errors import invalid
from maas.runtimes.wording import one_sentence


def custom_objects(code: Path | None) -> dict[str, Any]:
    """Imports every module of a folder, and finds what a model may refer to by name.

    Classes that are registered with `keras.saving.register_keras_serializable` are known to Keras
    by this import; the others are found by their own names.

    Args:
        code: the folder; None or missing where nothing was published with the model.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the module that cannot be imported.
    """
    if code is None or not code.is_dir():
        return {}
    place = str(code)
    if place not in sys.path:
        sys.path.insert(0, place)
    found: dict[str, Any] = {}
    for name in _modules(code):
        for each, value in _public(_import(name)).items():
            found.setdefault(each, value)
    return found


def _modules(code: Path) -> list[str]:
    files = {path.stem for path in code.glob("*.py") if path.stem.isidentifier()}
    packages = {path.parent.name for path in code.glob("*/__init__.py")}
    return sorted(files | packages)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        raise invalid(
            f"the module {name!r} given with --code needs module {missing!r}; add --code with it, "
            "or install it where the server runs"
        ) from error
    except Exception as error:
        raise invalid(
            f"the module {name!r} given with --code cannot be imported: {one_sentence(error)}"
        ) from error


def _public(module: ModuleType) -> dict[str, Any]:
    """Classes and functions that the module itself defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and (value.__module__ or "").split(".")[0] == module.__name__.split(".")[0]
    }
