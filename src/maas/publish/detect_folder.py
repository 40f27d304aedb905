"""Says what a published folder is: a SavedModel, ONNX with its data, a language model, Python.

Folders made for other servers are told by their marks alone: an MLflow model by its `MLmodel`, a
Triton model by its `config.pbtxt` or its version folders. What is in those is read in the child.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from maas.core.errors import MaasError, invalid
from maas.publish.detect_file import ACCEPTED, PICKLE, Detected, detect_file, head_of, is_code
from maas.publish.detect_python import python_entry
from maas.publish.pickles import looks_like_pickle

MOST_FILES = 10_000
MLMODEL = "MLmodel"
CONFIG = "config.pbtxt"
SAVED_MODEL = "saved_model.pb"
OPENVINO = "openvino_model.xml"
DEFAULT_FILES = ("model.onnx", "model.py", "model.pt", "model.savedmodel")
"""What a version folder holds where Triton needs no `config.pbtxt`."""
_PICKLED = re.compile(
    r"(pytorch_model|consolidated|model|tf_model|flax_model).*\.(bin|pt|pth|h5|ckpt|msgpack)"
)
"""Files of weights beside a `config.json` that are no safetensors."""
_BESIDE_WEIGHTS = ("model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


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
    if SAVED_MODEL in top:
        return Detected("savedmodel", "")
    for mark, format_ in ((MLMODEL, "mlflow"), (CONFIG, "triton")):
        if mark in top:
            return Detected(format_, _regular(folder, mark, label))
    if OPENVINO in top:
        return _detect_openvino(folder, top, label)
    versions = version_folders(folder)
    for number in versions:
        if any((folder / number / name).exists() for name in DEFAULT_FILES):
            return Detected("triton", number)
        if (folder / number / SAVED_MODEL).exists():
            return Detected("savedmodel", _regular(folder, f"{number}/{SAVED_MODEL}", label))
    if "config.json" in top and (weights := _hugging_face_weights(top)):
        return _detect_hugging_face(folder, weights, label)
    several = sorted(name for name in top if _is_triton_model(folder / name))
    if several:
        raise invalid(
            f"{label} looks like a repository of Triton models ({', '.join(several[:4])}); publish "
            "the folder of one model, or serve them all with maas serve --model-repository"
        )
    candidates = [name for name in sorted(top) if name.lower().endswith(".onnx")]
    if len(candidates) > 1:
        raise invalid(
            f"{label} holds several ONNX models ({', '.join(candidates[:4])}); "
            "publish a folder with one model and its external data"
        )
    if not candidates:
        return _detect_code(folder, names, label, trust)
    entry = _regular(folder, candidates[0], label)
    if detect_file(folder / entry, repr(entry), trust=False) != "onnx":
        raise invalid(f"{entry!r} in {label} is not ONNX; {ACCEPTED}")
    return Detected("onnx", entry)


def _detect_openvino(folder: Path, top: set[str], label: str) -> Detected:
    """A language model in OpenVINO's form, as optimum-intel writes it, told by its tokenizer."""
    for name in ("openvino_model.bin", "config.json", "tokenizer.json"):
        if name not in top:
            raise invalid(
                f"{label} holds {OPENVINO} and no {name}; publish the whole folder that "
                "optimum-cli export openvino wrote for a language model"
            )
        _regular(folder, name, label)
    return Detected("openvino-ir-llm", _regular(folder, OPENVINO, label))


def _hugging_face_weights(top: set[str]) -> list[str]:
    """The files at a folder's top that hold weights beside a `config.json`, safetensors first."""
    found = [name for name in top if name.endswith(".safetensors") or _PICKLED.fullmatch(name)]
    return sorted(found, key=lambda name: (not name.endswith(".safetensors"), name))


def _detect_hugging_face(folder: Path, weights: list[str], label: str) -> Detected:
    if not weights[0].endswith(".safetensors"):
        raise invalid(
            f"{label} looks like a Hugging Face model with its weights in {weights[0][:80]!r} "
            "alone, which can carry code; save it as safetensors "
            "(model.save_pretrained(folder, safe_serialization=True)) and publish that"
        )
    return Detected("huggingface", _regular(folder, "config.json", label))


def _is_triton_model(folder: Path) -> bool:
    if not folder.is_dir() or folder.is_symlink():
        return False
    if (folder / CONFIG).is_file():
        return True
    numbers = version_folders(folder)
    return any((folder / number / name).exists() for number in numbers for name in DEFAULT_FILES)


def version_folders(folder: Path) -> tuple[str, ...]:
    """The names of a folder's version folders, the highest number first."""
    with os.scandir(folder) as children:
        found = [
            child.name
            for child in children
            if _VERSION.fullmatch(child.name) and child.is_dir(follow_symlinks=False)
        ]
    return tuple(sorted(found, key=int, reverse=True))


def inside(folder: Path, name: str, said_by: str) -> Path:
    """A file or folder that some text of the model names, where that lies within its folder.

    Args:
        folder: the model's.
        name: a relative path, as the text gives it.
        said_by: which text, for the message.

    Raises:
        MaasError: INVALID_ARGUMENT for a path that leads out of the folder, through a link, or
            to nothing.
    """
    parts = name.rstrip("/").split("/")
    plain = name.isprintable() and "\\" not in name and not set(parts) & {"", ".", ".."}
    if not plain or len(name) > 1024:
        raise invalid(
            f"{said_by} names {_shown(name)}, which is no path inside the folder; expected one "
            "such as 'model.onnx'"
        )
    place = folder
    for part in parts:
        place = place / part
        try:
            mode = os.lstat(place).st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise invalid(
                f"{said_by} names {_shown(name)}, which the folder does not hold; publish the "
                "whole folder"
            ) from None
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise invalid(
                f"{said_by} names {_shown(name)}, which is a link or a device; expected a "
                "regular file or folder"
            )
    return place


def _shown(name: str) -> str:
    return repr("".join(c if c.isprintable() else "?" for c in name)[:80])


def _regular(folder: Path, entry: str, label: str) -> str:
    if not stat.S_ISREG(os.lstat(folder / entry).st_mode):
        raise invalid(f"{entry!r} in {label} is not a regular file; {ACCEPTED}")
    return entry


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
    raise _nothing(names, label)


def _nothing(names: list[str], label: str) -> MaasError:
    """A folder without a model: half of a Hugging Face model is told what it lacks."""
    if "config.json" in names and any(name in names for name in _BESIDE_WEIGHTS):
        return invalid(
            f"{label} looks like a Hugging Face model without its weights; publish the folder "
            "with its .safetensors files (a clone wants 'git lfs pull' first)"
        )
    weights = sorted(name for name in names if "/" not in name and name.endswith(".safetensors"))
    if weights and "config.json" not in names:
        return invalid(
            f"{label} holds {_shown(weights[0])} and no config.json; publish the whole folder of "
            "the model"
        )
    return invalid(f"{label} is a folder without a model at its top; {ACCEPTED}")
