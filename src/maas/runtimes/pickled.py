"""Pickles and joblib files, opened in the sandbox and served in it for as long as they serve.

What an estimator takes is not always written in it (a custom transformer says nothing of its
columns), so publishing leaves a `layout.json` beside the pickle.
"""

from __future__ import annotations

import logging
import mmap
import pickle
import warnings
from pathlib import Path
from typing import Any, Literal

import msgspec

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device, Resources, Servable
from maas.core.pythonmodel import PythonModel
from maas.runtimes.estimator import Layout
from maas.runtimes.python import PythonServable
from maas.runtimes.python_source import CODE, in_words, missing_module, search_here
from maas.runtimes.sklearn import SklearnServable

MIB = 1 << 20
LAYOUT = "layout.json"
JOBLIB_MARK = b"joblib.numpy_pickle"
log = logging.getLogger("maas.model")


class PickleRuntime:
    """Serves `pickle` artifacts: scikit-learn-like estimators, and `PythonModel` objects."""

    name = "pickle"
    platform = "pickle"
    formats = frozenset({"pickle"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """Eight times the files, which may be compressed, and 256 MiB for the libraries."""
        files = sum(f.stat().st_size for f in Path(artifact.path).rglob("*") if f.is_file())
        return Resources(memory_bytes=8 * files + 256 * MIB)

    def load(self, artifact: Artifact, device: Device) -> Servable:
        """Opens the pickle, which may run any code; only ever in the sandbox.

        Raises:
            MaasError: FAILED_PRECONDITION with what is missing or wrong.
        """
        search_here(Path(artifact.path) / CODE)
        model = open_pickle(artifact.file, artifact.entry)
        if isinstance(model, PythonModel):
            return PythonServable(model, artifact.signatures)
        said = (Path(artifact.path) / LAYOUT).read_bytes()
        layout = msgspec.json.decode(said, type=Layout)
        return SklearnServable(in_one_job(model), artifact.signatures, device.threads, layout)


def open_pickle(file: Path, name: str) -> Any:
    """Opens a pickle or a joblib file. It may run any code.

    Args:
        file: the pickle.
        name: what the publisher called it.

    Raises:
        MaasError: FAILED_PRECONDITION for a module or class that is not here,
            RESOURCE_EXHAUSTED where memory ran out, INVALID_ARGUMENT otherwise.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other versions: the report says so
            if is_joblib(file):
                import joblib  # type: ignore[import-untyped]  # has no stubs

                return joblib.load(file)
            with file.open("rb") as stream:
                return pickle.load(stream)  # noqa: S301  (what --trust is for, in the sandbox)
    except ModuleNotFoundError as error:
        raise missing_module(error, name) from error
    except MemoryError as error:
        raise MaasError(
            ErrorKind.RESOURCE_EXHAUSTED, f"memory ran out while {name} was opened"
        ) from error
    except (Exception, SystemExit) as error:
        log.warning("%s could not be opened", name, exc_info=error)
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION, f"{name} could not be opened: {in_words(error)}"
        ) from error


def is_joblib(file: Path) -> bool:
    """Whether only joblib reads it: it is compressed, or arrays lie between its opcodes."""
    if not file.stat().st_size:
        return False
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as seen:
        return seen[:1] in (b"\x1f", b"B", b"\xfd", b"]", b"\x04", b"x") or (
            seen.find(JOBLIB_MARK) >= 0
        )


def in_one_job(estimator: Any) -> Any:
    """Makes every part of an estimator work in its own thread: no pool of processes."""
    for part in _parts(estimator):
        if isinstance(getattr(part, "n_jobs", None), int):
            part.n_jobs = None
    return estimator


def _parts(root: Any) -> list[Any]:
    """Every object with attributes that is reachable through attributes and containers."""
    found: list[Any] = []
    seen: set[int] = set()
    stack = [root]
    while stack:
        part = stack.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float | type):
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            stack.extend(part.values())
        elif isinstance(part, list | tuple | set):
            stack.extend(part)
        elif type(part).__name__ == "ndarray":
            stack.extend(part.ravel().tolist() if part.dtype == object else ())
        elif hasattr(part, "get_params") or hasattr(part, "predict"):
            found.append(part)
            stack.extend(vars(part).values() if hasattr(part, "__dict__") else ())
    return found
