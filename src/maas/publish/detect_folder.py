"""Says what a published folder is: a SavedModel, ONNX with its data, a Python package."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from maas.core.errors import invalid
from maas.publish.detect_file import ACCEPTED, PICKLE, Detected, detect_file, head_of, is_code
from maas.publish.detect_python import python_entry
from maas.publish.pickles import looks_like_pickle

MOST_FILES = 10_000


def detect_folder(folder: Path, label: str, trust: bool) -> Detected:
    """What a folder is, and which of its files is to be opened.

    Raises:
        MaasError: INVALID_ARGUMENT: what it looks like, and what is accepted.
    """
    names: list[str] = []
    for place, _, files in os.walk(folder, followlinks=False):
        names.extend(str(Path(place, name).relative_to(folder)) for name in files)
        if len(names) > MOST_FILES:
            raise invalid(f"{label} holds more than {MOST_FILES} files; {ACCEPTED}")
    top = {child.name for child in folder.iterdir()}
    if "saved_model.pb" in top:
        return Detected("savedmodel", "")
    for mark, what in (
        ("MLmodel", "an MLflow model"),
        ("config.pbtxt", "a Triton model repository"),
        ("config.json", "a Hugging Face model"),
    ):
        if mark in top:
            raise invalid(f"{label} looks like {what}, which is not served yet; {ACCEPTED}")
    candidates = [name for name in sorted(top) if name.lower().endswith(".onnx")]
    if len(candidates) > 1:
        raise invalid(
            f"{label} holds several ONNX models ({', '.join(candidates[:4])}); "
            "publish a folder with one model and its external data"
        )
    if not candidates:
        return _detect_code(folder, names, label, trust)
    entry = candidates[0]
    if not stat.S_ISREG(os.lstat(folder / entry).st_mode):
        raise invalid(f"{entry!r} in {label} is not a regular file; {ACCEPTED}")
    if detect_file(folder / entry, repr(entry), trust=False) != "onnx":
        raise invalid(f"{entry!r} in {label} is not ONNX; {ACCEPTED}")
    return Detected("onnx", entry)


def _detect_code(folder: Path, names: list[str], label: str, trust: bool) -> Detected:
    """A folder without an ONNX model: a Python package, perhaps with pickles among its data."""
    entry = python_entry(folder, label)
    if entry is not None:
        if not trust:
            raise is_code(f"{label} holds a Python model")
        return Detected("python", entry)
    for name in names:
        path = folder / name
        if path.is_file() and not path.is_symlink() and looks_like_pickle(head_of(path)):
            raise invalid(
                f"{label} holds {Path(name).name!r}, which {PICKLE}, "
                "or publish that one file with --trust"
            )
    raise invalid(f"{label} is a folder without a model at its top; {ACCEPTED}")
