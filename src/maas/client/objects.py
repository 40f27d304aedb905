"""Publishing an object from a notebook: what it is, and the file that it travels as.

Fitted estimator ─▶ `.skops` where all its types are known to be data, else `.pkl` (trust) · Keras
model ─▶ `.keras` · `PythonModel` ─▶ its source, else `.pkl` (trust).

Frameworks are recognised by the modules of an object's class, and imported only to save it: who
holds the object has them.
"""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maas.client import pickled
from maas.client.upload import Upload, prepare
from maas.core.errors import invalid
from maas.core.identity import check_publish_name
from maas.core.pythonmodel import PythonModel
from maas.core.records import PublishOptions
from maas.core.reviewed import REVIEWED

TRUST = (
    "if you know where it comes from, publish it with trust=True: the server then opens it, and "
    "serves it for life, in a sandbox without network or other files"
)
LISTED = 6


@contextmanager
def packed(
    source: Any,
    name: str,
    options: PublishOptions,
    *,
    sample: Any = None,
    card: str | os.PathLike[str] | None = None,
    code: Sequence[str | os.PathLike[str]] = (),
) -> Iterator[Upload]:
    """Builds the request of a publish; it can be sent within the context.

    Args:
        source: a path, or an object as `as_path` takes it.
        name: the model's name.
        options: what the publisher says about the version.
        sample: None, a file, or rows.
        card: None or the model card's file.
        code: files and folders of modules that the model imports.

    Raises:
        MaasError: INVALID_ARGUMENT for what cannot be published so.
    """
    with as_path(source, name, trust=options.trust, code=bool(code)) as path:
        yield prepare(path, name, options, sample=sample, card=card, code=code)


@contextmanager
def as_path(source: Any, name: str, *, trust: bool, code: bool) -> Iterator[str | os.PathLike[str]]:
    """Gives the file or folder to publish; that of an object lasts as long as the context.

    Args:
        source: a path, or a fitted estimator, a Keras model, a `PythonModel` or a class of one.
        name: what it will be called, and so its file.
        trust: whether it may travel as code.
        code: whether its own modules are sent beside it, and so need not be in a pickle.

    Raises:
        MaasError: INVALID_ARGUMENT for what cannot be published, or only with trust.
    """
    if isinstance(source, (str, os.PathLike)):
        yield source
        return
    check_publish_name(name)
    with tempfile.TemporaryDirectory(prefix="maas-") as folder:
        # The name is a file's here, and a module's there: no character of it may mean more.
        stem = "".join(c if c.isalnum() else "_" for c in name)
        yield _save(source, Path(folder) / stem, trust=trust, code=code)


def _save(thing: Any, stem: Path, *, trust: bool, code: bool) -> Path:
    kind = thing if isinstance(thing, type) else type(thing)
    roots = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if issubclass(kind, PythonModel):
        return _save_python(thing, stem, trust=trust, code=code)
    if isinstance(thing, type):
        raise invalid(f"{kind.__name__} is a class; publish a fitted object of it")
    if roots & {"keras", "tf_keras"} and hasattr(thing, "save"):
        file = stem.with_suffix(".keras")
        thing.save(file)
        return file
    if "torch" in roots:
        raise invalid(
            f"a {kind.__name__} of PyTorch is published as a file: export it with "
            "torch.onnx.export, and publish the .onnx file"
        )
    if "tensorflow" in roots:
        raise invalid(
            f"a {kind.__name__} of TensorFlow is published as a folder: save it with "
            "tf.saved_model.save, and publish the folder"
        )
    if not hasattr(thing, "predict") and not hasattr(thing, "transform"):
        if hasattr(thing, "fit"):
            raise invalid(
                f"a {kind.__name__} has neither predict nor transform: it says something of the "
                "rows that it was fitted on, and answers no others; publish an estimator that does"
            )
        raise invalid(
            f"a {kind.__name__} cannot be published; expected a path, a fitted scikit-learn, "
            "XGBoost or LightGBM estimator, a Keras model, or a maas.PythonModel"
        )
    return _save_estimator(thing, stem, trust=trust, code=code)


def _save_estimator(estimator: Any, stem: Path, *, trust: bool, code: bool) -> Path:
    file = stem.with_suffix(".skops")
    reason = _why_not_skops(estimator, file)
    if not reason:
        return file
    file.unlink(missing_ok=True)
    if not trust:
        raise invalid(
            f"this {type(estimator).__name__} {reason}; it can travel only as a pickle, which "
            f"runs code when it is opened; {TRUST}"
        )
    file = stem.with_suffix(".pkl")
    pickled.dump(estimator, file, by_value=not code)
    return file


def _why_not_skops(estimator: Any, file: Path) -> str:
    """Saves an estimator as skops; says why that is not enough, or nothing."""
    try:
        import skops.io
    except ImportError:
        return "cannot be saved as data, since skops is not installed here (pip install skops)"
    try:
        skops.io.dump(estimator, file)
        unknown = sorted(set(skops.io.get_untrusted_types(file=file)) - set(REVIEWED))
    except Exception as error:  # noqa: BLE001  # skops raises what the object's own methods raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"cannot be saved by skops ({said})"
    if not unknown:
        return ""
    shown = ", ".join(unknown[:LISTED]) + (" …" if len(unknown) > LISTED else "")
    return f"holds types that are not known to be data alone: {shown}"


def _save_python(model: Any, stem: Path, *, trust: bool, code: bool) -> Path:
    given_class = isinstance(model, type)
    kind: type[PythonModel] = model if given_class else type(model)
    if kind is PythonModel:
        raise invalid("PythonModel itself answers nothing; publish a class that derives from it")
    if not trust:
        raise invalid(f"{kind.__name__} is a PythonModel, and so is code; {TRUST}")
    source = _source_of(kind)
    if source is not None and (given_class or not vars(model)):
        return source
    if given_class:
        if kind.load is not PythonModel.load:
            raise invalid(
                f"{kind.__name__} has a load method and no file of its own that could be "
                "published; move it into a .py file and publish that, or publish an object that "
                "has loaded what it needs"
            )
        model = kind()
    file = stem.with_suffix(".pkl")
    pickled.dump(model, file, by_value=not code)
    return file


def _source_of(kind: type[PythonModel]) -> Path | None:
    """The file of a class that can be published as it stands.

    That is a module of its own outside any package, and with one model only: a notebook or a
    script holds more than the model, and running it anew there would do more than define it.
    """
    name = kind.__module__
    module = sys.modules.get(name)
    if "." in name or name == pickled.MAIN or not pickled.is_own(module):
        return None
    try:
        file = inspect.getsourcefile(kind)
    except (TypeError, OSError):
        return None
    models = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, PythonModel) and value is not PythonModel
    ]
    if file is None or models != [kind] or not Path(file).is_file():
        return None
    return Path(file)
