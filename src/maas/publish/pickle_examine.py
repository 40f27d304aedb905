"""Examines a pickle or joblib file. Runs in the child, which is confined: opening it runs code.

names looked up (nothing run) → modules are there → open → estimator or PythonModel → as theirs
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.pythonmodel import PythonModel
from maas.core.signature import DEFAULT_SIGNATURE
from maas.publish.code_folder import keep_code
from maas.publish.messages import Emit, Finding, Job
from maas.publish.pickle_scan import PickleScan, scan_pickle
from maas.publish.python_examine import versions_of
from maas.publish.python_prove import prove_python
from maas.publish.python_signature import form_of
from maas.publish.sample_table import layout_from, read_table
from maas.publish.sklearn_examine import Native, examine_estimator
from maas.publish.sklearn_original import ask_original
from maas.publish.versions import read_with
from maas.runtimes.estimator import Layout, entry_parts, is_stock, layout_of
from maas.runtimes.pickled import LAYOUT, PickleRuntime, in_one_job, open_pickle
from maas.runtimes.python_source import CODE, ModelSettings, check_requires, lacking
from maas.runtimes.wording import one_sentence

ENTRY = "model.pkl"


def examine_pickle(job: Job, emit: Emit) -> Finding:
    """Takes a pickle to what will be served: ONNX where that is proven, else itself, confined.

    Raises:
        MaasError: one sentence that says what is wrong with it or missing, and what to do.
    """
    emit("scan", "looking at what it imports", 0.1)
    source = Path(job.source)
    name = source.name
    scan = scan_pickle(source)
    keep_code(job)
    _check_modules(scan, name)

    emit("inspect", "opening it", 0.2)
    model = open_pickle(source, name)
    shutil.copyfile(source, Path(job.artifact) / ENTRY)
    if isinstance(model, PythonModel):
        return _examine_object(model, scan, job, emit)
    _check_kind(model, name)
    layout = _layout(in_one_job(model), job)
    (Path(job.artifact) / LAYOUT).write_bytes(msgspec.json.encode(layout))
    native = Native(
        runtime=PickleRuntime(),
        entry=ENTRY,
        files=(ENTRY, LAYOUT, CODE),
        written_with=scan.written_with,
        warnings=_other_versions(scan),
    )
    return examine_estimator(ask_original(model, layout, job), native, job, emit)


def _examine_object(model: PythonModel, scan: PickleScan, job: Job, emit: Emit) -> Finding:
    """A `PythonModel` object, as `client.publish` sends one from a notebook."""
    kind = type(model)
    check_requires(kind.requires, kind.__name__)
    proven = prove_python(model, form_of(kind, ModelSettings()), job, emit)
    return Finding(
        engine="pickle",
        format="pickle",
        entry=ENTRY,
        signatures={DEFAULT_SIGNATURE: proven.signature},
        lowered=False,
        reason="a Python model is served by its own code, in the sandbox",
        written_with=scan.written_with,
        read_with=versions_of(kind),
        parity=None,
        batch_note=proven.batch_note,
        timings=(proven.timing,),
        warnings=(*_other_versions(scan), *proven.warnings),
    )


def _check_modules(scan: PickleScan, name: str) -> None:
    """Makes sure that what it imports is here.

    Raises:
        MaasError: FAILED_PRECONDITION, naming the module and the flag that brings it.
    """
    if scan.from_main:
        what = scan.from_main[0]
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"{name} needs {what!r}, which was defined in the notebook or script that saved it: "
            f"move it into a module of its own, import it from there, save again and add "
            "--code MODULE.py; or publish the object itself from the notebook with "
            "client.publish",
        )
    for module in scan.modules:
        if module not in sys.modules and importlib.util.find_spec(module) is None:
            raise lacking(module, name)


def _check_kind(model: Any, name: str) -> None:
    """Makes sure that it answers about rows.

    Raises:
        MaasError: INVALID_ARGUMENT, saying what it is instead.
    """
    if isinstance(model, type):
        raise invalid(
            f"{name} holds the class {model.__name__}, not an object of it; fit one and save that"
        )
    answers = any(callable(getattr(model, name, None)) for name in ("predict", "transform"))
    # A bare Booster takes its library's own matrices; the estimator around it takes rows.
    library = type(model).__module__.partition(".")[0]
    if answers and (library not in ("xgboost", "lightgbm") or hasattr(model, "get_params")):
        return
    raise invalid(
        f"{name} holds an object of type {type(model).__name__}, not a model; expected a fitted "
        "estimator or pipeline with predict or transform, or a maas.PythonModel object"
    )


def _layout(estimator: Any, job: Job) -> Layout:
    """How the estimator wants its rows: as it says, else as the given sample has them.

    Raises:
        MaasError: INVALID_ARGUMENT where neither tells.
    """
    own = next((part for part in entry_parts(estimator) if not is_stock(part)), None)
    known = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    table = read_table(Path(job.sample), job.sample_name) if job.sample else None
    if own is None:
        layout = layout_of(estimator)
        mixed = isinstance(table, dict) and any(
            table[name].dtype == object for name in known or table if name in table
        )
        # Texts where it seems to take numbers: it was fitted on a data frame's own types.
        frame = table is not None and mixed and layout.kind == "numbers"
        return layout_from(table, known) if frame and table is not None else layout
    if table is not None:
        return _with_pandas(layout_from(table, known))
    width = getattr(estimator, "n_features_in_", None)
    if known or width is None:
        columns = f" with the columns {', '.join(known[:20])}" if known else ""
        raise invalid(
            f"{type(own).__name__} is code of its own, which does not say what its rows hold: "
            f"publish it with --sample and a few rows{columns} (.csv, .json, .npy or .npz)"
        )
    return Layout("numbers", int(width))


def _with_pandas(layout: Layout) -> Layout:
    if layout.kind == "frame" and importlib.util.find_spec("pandas") is None:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            "the model takes a data frame, and pandas is not installed where the server runs: "
            "pip install pandas",
        )
    return layout


def _other_versions(scan: PickleScan) -> tuple[str, ...]:
    """Versions that differ by more than a patch; scikit-learn's own is compared with the rest."""
    found = []
    for library, there in scan.written_with.items():
        here = read_with(library).get(library, "")
        if library != "scikit-learn" and here.split(".")[:2] != there.split(".")[:2]:
            found.append(f"written with {library} {there}, read with {one_sentence(here)}")
    return tuple(found)
