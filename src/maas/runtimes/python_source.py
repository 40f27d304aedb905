"""Opens a `PythonModel` from its source: imports the file or package, chooses the class.

Importing runs the publisher's code: only ever in the sandbox.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.pythonmodel import PythonModel
from maas.runtimes.wording import one_sentence

SETTINGS = "model.toml"
MOST_SETTINGS = 1 << 20
CODE = "code"
"""The folder of an artifact with the modules given with `--code`."""
PACKAGES = {
    "catboost": "catboost",
    "category_encoders": "category_encoders",
    "cloudpickle": "cloudpickle",
    "feature_engine": "feature_engine",
    "imblearn": "imbalanced-learn",
    "jieba": "jieba",
    "joblib": "joblib",
    "keras": "keras",
    "lightgbm": "lightgbm",
    "nltk": "nltk",
    "pandas": "pandas",
    "polars": "polars",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "sentence_transformers": "sentence-transformers",
    "sklearn": "scikit-learn",
    "skops": "skops",
    "spacy": "spacy",
    "statsmodels": "statsmodels",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "transformers": "transformers",
    "xgboost": "xgboost",
}
"""Modules that are nobody's own file, with the distributions that hold them."""
log = logging.getLogger("maas.model")


class TensorSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[inputs]]` or `[[outputs]]` of `model.toml`.

    Args:
        name: the tensor's.
        dtype: as in the Open Inference Protocol (`FP32`) or as NumPy writes it (`float32`).
        shape: sizes; a letter or -1 where any size goes.
        labels: class names, where it holds class indices or scores.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    labels: tuple[str, ...] | None = None


class ModelSettings(Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """`model.toml` beside a model's source.

    Args:
        class_: which class is the model, where there are several.
        description: for people who read the file.
        inputs: instead of `infer`'s annotations.
        outputs: instead of those of what it returns.
    """

    class_: str = ""
    description: str = ""
    inputs: tuple[TensorSettings, ...] = ()
    outputs: tuple[TensorSettings, ...] = ()


def read_settings(folder: Path) -> ModelSettings:
    """Reads `model.toml`, or gives what holds without one.

    Raises:
        MaasError: INVALID_ARGUMENT, saying what in it is wrong.
    """
    file = folder / SETTINGS
    if not file.is_file():
        return ModelSettings()
    if file.stat().st_size > MOST_SETTINGS:
        raise invalid(f"{SETTINGS} is larger than 1 MiB; expected a few lines")
    try:
        return msgspec.toml.decode(file.read_bytes(), type=ModelSettings)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(
            f"{SETTINGS} cannot be read: {one_sentence(error)}; expected class, description, "
            "[[inputs]] and [[outputs]], these with name, dtype and shape"
        ) from error


def search_here(*folders: Path) -> None:
    """Puts folders first where modules are searched, for this process's life."""
    for folder in folders:
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    importlib.invalidate_caches()


def open_class(file: Path, settings: ModelSettings) -> type[PythonModel]:
    """Imports a model's source and gives its class.

    Args:
        file: the source; `__init__.py` for a package. Its folder is searched for modules, too;
            and the folder above, after all others, so that a package finds itself by its name.
        settings: says which class, where there are several.

    Raises:
        MaasError: FAILED_PRECONDITION where it cannot be imported, INVALID_ARGUMENT where it
            holds no model or several.
    """
    search_here(file.parent)
    above = str(file.parent.parent)
    if above not in sys.path:
        sys.path.append(above)
    module = import_file(file)
    inner = file.with_name("model.py")
    if file.name == "__init__.py" and inner.is_file() and not _models(module):
        module = _submodule(module, inner.name)
    return _choose(module, file.name, settings.class_)


def make(model: type[PythonModel], folder: Path) -> PythonModel:
    """Makes a model and has it read its files.

    Raises:
        MaasError: FAILED_PRECONDITION with the model's own words.
    """
    check_requires(model.requires, model.__name__)
    try:
        made = model()
        made.load(folder)
    except (Exception, SystemExit) as error:
        log.warning("%s could not be loaded", model.__name__, exc_info=error)
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"{model.__name__} could not be loaded: {in_words(error)}",
        ) from error
    return made


def check_requires(requires: Iterable[str], name: str) -> None:
    """Compares what a model needs with what is installed; installs nothing.

    Args:
        requires: as pip writes them; those whose marker does not hold here are passed over.
        name: of the model, for the message.

    Raises:
        MaasError: FAILED_PRECONDITION with what is missing and the command that installs it,
            INVALID_ARGUMENT for one that is not written as pip does.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    if isinstance(requires, str):
        requires = (requires,)
    missing, commands = [], []
    for text in requires:
        try:
            wanted = Requirement(text)
        except (InvalidRequirement, TypeError) as error:
            raise invalid(
                f"{name} requires {text!r}, which is not written as pip does; expected a name "
                "and perhaps versions, such as 'pandas>=2'"
            ) from error
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            here = version(wanted.name)
        except PackageNotFoundError:
            here = ""
        if not here or not wanted.specifier.contains(here, prereleases=True):
            missing.append(f"{wanted.name}{wanted.specifier} ({here or 'not installed'})")
            commands.append(f"'{wanted.name}{wanted.specifier}'")
    if missing:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"{name} requires {', '.join(missing)}; where the server runs: "
            f"pip install {' '.join(commands)}",
        )


def in_words(error: BaseException) -> str:
    """An exception's type and message: `KeyError: 'red'`."""
    said = one_sentence(error)
    kind = type(error).__name__
    return said if said == kind else f"{kind}: {said}"


def missing_module(error: ModuleNotFoundError, name: str) -> MaasError:
    """Says which module a model lacks, and what brings it.

    Args:
        error: as Python raised it.
        name: what the publisher called the model.
    """
    return lacking((error.name or one_sentence(error)).split(".")[0], name)


def lacking(module: str, name: str) -> MaasError:
    """Says that a model lacks a module: one of the publisher's own, or a known package.

    Args:
        module: without its submodules.
        name: what the publisher called the model.
    """
    if module in PACKAGES:
        cure = f"which is not installed where the server runs: pip install {PACKAGES[module]}"
        return MaasError(ErrorKind.FAILED_PRECONDITION, f"{name} needs module {module!r}, {cure}")
    return MaasError(
        ErrorKind.FAILED_PRECONDITION, f"{name} needs module {module!r}: add --code {module}.py"
    )


def import_file(file: Path) -> ModuleType:
    """Imports a source file under its own name, or one beside it where that is somebody else's.

    Args:
        file: `__init__.py` for a package.

    Raises:
        MaasError: FAILED_PRECONDITION with the source's own words.
    """
    package = file.name == "__init__.py"
    stem = file.parent.name if package else file.stem
    # The name that its own pickles and messages know it by, unless that is somebody else's.
    name = stem if stem.isidentifier() and stem not in sys.stdlib_module_names else "model"
    name = f"published_{name}" if _is_taken(name, file) else name
    places = [str(file.parent)] if package else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=places)
    if spec is None or spec.loader is None:
        raise invalid(f"{file.name!r} is not Python source; expected a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _naming(file.name):
            spec.loader.exec_module(module)
    except MaasError:
        sys.modules.pop(name, None)
        raise
    return module


def _is_taken(name: str, file: Path) -> bool:
    """Whether a module of that name is loaded, or would be found before this one."""
    if name in sys.modules:
        return True
    found = importlib.util.find_spec(name)
    return found is not None and found.origin not in (None, str(file))


def _submodule(package: ModuleType, file: str) -> ModuleType:
    with _naming(file):
        return importlib.import_module(f"{package.__name__}.{Path(file).stem}")


@contextlib.contextmanager
def _naming(file: str) -> Iterator[None]:
    """Turns whatever importing raises into one sentence; its trace goes to the model's log."""
    try:
        yield
    except ModuleNotFoundError as error:
        log.warning("%s could not be imported", file, exc_info=error)
        raise missing_module(error, file) from error
    except (Exception, SystemExit) as error:
        log.warning("%s could not be imported", file, exc_info=error)
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION, f"{file} could not be imported: {in_words(error)}"
        ) from error


def _choose(module: ModuleType, file: str, wanted: str) -> type[PythonModel]:
    found = _models(module)
    if wanted:
        if wanted not in found:
            raise invalid(
                f"{SETTINGS} says class = {wanted!r}, which {file} does not have; it has "
                f"{_names(found) or 'no PythonModel'}"
            )
        return found[wanted]
    # A base that another one derives from is not what was meant.
    last = {
        name: value
        for name, value in found.items()
        if not any(other is not value and issubclass(other, value) for other in found.values())
    }
    if not last:
        raise invalid(f"{file} has no class that derives from maas.PythonModel; expected one")
    if len(set(last.values())) > 1:
        raise invalid(
            f"{file} has several models ({_names(last)}); say which one in {SETTINGS} beside it: "
            f'class = "{next(iter(last))}"'
        )
    return next(iter(last.values()))


def _models(module: ModuleType) -> dict[str, type[PythonModel]]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, PythonModel) and value is not PythonModel
    }


def _names(found: Iterable[str]) -> str:
    return ", ".join(sorted(found)[:8])
