"""Says what one published file is, by its first bytes, its zip directory or its fields."""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from pathlib import Path

from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.publish.detect_python import (
    looks_like_code,
    looks_like_model,
    read_source,
)
from maas.publish.pickles import HEAD, looks_like_pickle, unpacked_head
from maas.publish.protobuf import MalformedError, fields

ACCEPTED = (
    "accepted are ONNX (.onnx, or a folder with its external data), skops (.skops), Keras "
    "(.keras), XGBoost (.json, .ubj), LightGBM (.txt), PyTorch programs (.pt2), a TensorFlow "
    "SavedModel, MLflow or Triton model folder, language models (.gguf, Hugging Face and OpenVINO "
    "folders); and with --trust pickles and joblib files, Keras "
    ".h5, TorchScript, and Python files or packages with a maas.PythonModel"
)
PICKLE = (
    "is a pickle, which can run any code when it is opened; "
    "save it with skops (skops.io.dump) and publish that"
)
TRUSTED = "or publish it with --trust, which opens and serves it in the sandbox"
GGUF_MAGIC = b"GGUF"
_PART = re.compile(r"-[0-9]{5}-of-[0-9]{5}", re.IGNORECASE)
"""In the name of a GGUF's part."""
HDF5 = b"\x89HDF\r\n\x1a\n"
ONNX_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
"""Field numbers of ModelProto. Source: onnx/onnx.proto."""
LONGEST_LIST = 8 << 20
"""Bytes of a zip's list of members: some 100,000 of them."""
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What is unpacked no further than it is read; of bzip2 and LZMA one block may be gigabytes."""


XGBOOST = re.compile(
    rb"""\s*\{\s*"(learner"\s*:\s*\{\s*"|version"\s*:\s*\[\s*\d)"""
    rb"""|\{(L\x00{7}|l\x00{3}|I\x00|[iU])\x07(learner\{|version\[)"""
)
"""How a booster begins in JSON and in UBJSON."""
XGBOOST_BINARY = re.compile(
    rb"(binf)?.{16,300}?[\x08-\x30]\x00{7}(binary|multi|reg|rank|count|survival):[a-z]", re.DOTALL
)
"""How one begins that XGBoost before 3.1 saved in its binary format: an objective by its length."""
LIGHTGBM = re.compile(rb"tree\r?\nversion=v\d")
EXPORT = (
    "torch.export.save(torch.export.export(model.eval(), (example,)), 'model.pt2') and publish that"
)
_UPSTREAM = re.compile(r'\s*\{\s*"upstream"\s*:')


class Detected(Struct, frozen=True):
    """What was recognised.

    Args:
        format: `onnx`, `skops`, `pickle`, `keras`, `keras-h5`, `savedmodel`, `xgboost`, `lightgbm`,
            `pt2`, `torchscript`, `python`, `upstream`, `gguf`, or the folder's own.
        entry: the file to open; in a folder, relative to it. Empty where the folder is the model.
    """

    format: str
    entry: str


def is_code(what: str) -> MaasError:
    """The error for code that came without `--trust`."""
    return invalid(
        f"{what}, which is code; publish it with --trust, which runs it in the sandbox, or "
        "export what it computes as ONNX and publish that"
    )


def head_of(path: Path) -> bytes:
    """The file's first bytes."""
    with path.open("rb") as file:
        return file.read(HEAD)


def detect_file(path: Path, label: str, trust: bool) -> str:
    """The format of a regular file, as `Detected` has it.

    Raises:
        MaasError: INVALID_ARGUMENT: what it looks like, and what is accepted.
    """
    size = path.stat().st_size
    if size == 0:
        raise invalid(f"{label} is empty; {ACCEPTED}")
    head = head_of(path)
    if head[:2] == b"PK":
        return _detect_zip(path, label, trust)
    if XGBOOST.match(head):
        return "xgboost"
    if LIGHTGBM.match(head):
        return "lightgbm"
    if head.startswith(HDF5):
        if not trust:
            raise invalid(
                f"{label} is HDF5 (a Keras .h5), which can carry code; save it as .keras "
                f"(model.save('model.keras')) and publish that, {TRUSTED}"
            )
        return "keras-h5"
    if head.startswith(GGUF_MAGIC):
        if _PART.search(path.name):
            raise invalid(
                f"{label} is one of several parts of a model; put them together "
                "(llama-gguf-split --merge) and publish the one file"
            )
        return "gguf"
    packed = unpacked_head(head)
    if packed is not None:
        how, inside = packed
        if inside is not None and not looks_like_pickle(inside):
            raise invalid(f"{label} is {how}-compressed; publish the model file inside it")
        if not trust:
            raise invalid(
                f"{label} is {how}-compressed, as joblib does, and inside {PICKLE}, {TRUSTED}"
            )
        return "pickle"
    for mark, what in _MARKS:
        if head.startswith(mark):
            raise invalid(f"{label} {what}; {ACCEPTED}")
    if looks_like_pickle(head):
        if not trust:
            raise invalid(f"{label} {PICKLE}, {TRUSTED}")
        return "pickle"
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size:
        raise invalid(f"{label} looks like safetensors weights without a model; {ACCEPTED}")
    text = _as_text(head)
    if text is not None:
        return _detect_text(path, text, label, trust)
    if XGBOOST_BINARY.match(head):
        raise invalid(
            f"{label} is a booster in the binary format of XGBoost before 3.1; load it with that "
            "version, save it with booster.save_model('model.json') and publish that"
        )
    return _detect_protobuf(path, size, label)


_MARKS = (
    (b"\x28\xb5\x2f\xfd", "is zstd-compressed; publish the model file inside it"),
    (b"\x93NUMPY", "is a NumPy array, not a model"),
    (b"\x7fELF", "is a compiled program, not a model"),
    (b"%PDF", "is a PDF document, not a model"),
    (b"\x89PNG", "is a picture, not a model"),
    (b"\xff\xd8\xff", "is a picture, not a model"),
)


def _detect_text(path: Path, text: str, label: str, trust: bool) -> str:
    if _UPSTREAM.match(text):
        return "upstream"
    source = read_source(path)
    if looks_like_model(source):
        if not trust:
            raise is_code(f"{label} is a Python model")
        return "python"
    if looks_like_code(source):
        raise invalid(
            f"{label} is Python without a model; expected a class that derives from "
            "maas.PythonModel and has an infer method"
        )
    raise _text_refusal(text, label)


class _Archive(io.FileIO):
    """A file of which no more is read at once than a list of members may hold.

    The list is read in one piece, and takes fifteen times its bytes in memory.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads as `FileIO`.

        Raises:
            ValueError: too much is asked for.
        """
        if size is not None and size > LONGEST_LIST:
            raise ValueError("the list of members is too long")
        # All that is left is asked for at the end only, where the list's own place is written.
        return super().read(LONGEST_LIST if size is None or size < 0 else size) or b""


def _detect_zip(path: Path, label: str, trust: bool) -> str:
    try:
        with _Archive(path) as file, zipfile.ZipFile(file) as archive:
            return _detect_members(archive, label, trust)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError):
        raise invalid(
            f"{label} begins like a zip archive (skops is one) but is cut off or damaged; "
            "save and publish it again"
        ) from None


def _detect_members(archive: zipfile.ZipFile, label: str, trust: bool) -> str:
    names = archive.namelist()
    leaves = {name.rsplit("/", 1)[-1] for name in names}
    torch = _detect_torch(names, leaves, label, trust)
    if torch:
        return torch
    if "schema.json" in names:
        return "skops"
    if {"metadata.json", "config.json"} & set(names) and "model.weights.h5" in names:
        return "keras"
    for member in archive.infolist()[:64]:
        if member.flag_bits & 1:
            raise invalid(f"{label} is an encrypted zip archive; {ACCEPTED}")
        if member.compress_type not in PLAIN:
            raise invalid(f"{label} is a zip archive packed in an unusual way; {ACCEPTED}")
        try:
            with archive.open(member) as file:
                head = file.read(HEAD)
        except zipfile.BadZipFile:
            raise invalid(f"{label} is a damaged zip archive; {ACCEPTED}") from None
        if looks_like_pickle(head) or (head.startswith(b"\x93NUMPY") and b"|O" in head[:200]):
            raise invalid(f"{label} holds {member.filename[:40]!r}, which {PICKLE}")
    if "saved_model.pb" in leaves:
        raise invalid(f"{label} holds a TensorFlow SavedModel; unpack it and publish the folder")
    if names and all(name.endswith(".npy") for name in names):
        raise invalid(f"{label} holds NumPy arrays, not a model; {ACCEPTED}")
    raise invalid(f"{label} is a zip archive without skops's schema.json; {ACCEPTED}")


def _detect_torch(names: list[str], leaves: set[str], label: str, trust: bool) -> str:
    """The format of an archive of PyTorch's; empty where it is none."""
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner and any(name.startswith("models/") for name in inner):
        return "pt2"
    if leaves & {"serialized_exported_program.json"}:
        raise invalid(
            f"{label} is a program exported by PyTorch 2.7 or older; export it again with a newer "
            f"one: {EXPORT}"
        )
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        if not trust:
            raise invalid(
                f"{label} is TorchScript, which is code; export the model with {EXPORT}, {TRUSTED}"
            )
        return "torchscript"
    if leaves & {"data.pkl", "constants.pkl"}:
        raise invalid(
            f"{label} looks like a PyTorch checkpoint (weights, or a pickled module): it is a "
            f"pickle, which can run any code when it is opened; export the model with {EXPORT}"
        )
    return ""


def _as_text(head: bytes) -> str | None:
    try:
        # Not final: a character may be cut at the end of the part that was read.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, len(head) < HEAD)
    except UnicodeDecodeError:
        return None
    odd = sum(1 for c in text if not c.isprintable() and c not in "\r\n\t\f\ufeff")
    return None if odd else text


def _text_refusal(text: str, label: str) -> MaasError:
    start = text.lstrip("\ufeff \r\n\t")
    if start.startswith("version https://git-lfs"):
        return invalid(f"{label} is a Git LFS pointer; run 'git lfs pull' and publish the file")
    if start[:1] in "{[":
        return invalid(f"{label} looks like JSON, not a model; {ACCEPTED}")
    if start[:1] == "<":
        return invalid(f"{label} looks like a web page or XML, not a model; {ACCEPTED}")
    return invalid(f"{label} is plain text, not a model; {ACCEPTED}")


def _detect_protobuf(path: Path, size: int, label: str) -> str:
    numbers: list[int] = []
    version = 0
    try:
        with path.open("rb") as file:
            for field in fields(file, size):
                numbers.append(field.number)
                if field.number == 1 and field.wire == 0:
                    version = field.value
                if field.number not in ONNX_FIELDS or len(numbers) > 100_000:
                    raise MalformedError("not a field of an ONNX model")
    except MalformedError:
        if numbers[:1] == [1] and 1 <= version < 100 and set(numbers) <= ONNX_FIELDS:
            raise invalid(
                f"{label} begins like ONNX but is cut off or damaged; save and publish it again"
            ) from None
        raise invalid(f"{label} is not a format that is known here; {ACCEPTED}") from None
    if 7 in numbers and 1 <= version < 100:
        if version >= 3 and 8 not in numbers:  # operator sets come last, and are required
            raise invalid(f"{label} begins like ONNX but is cut off; save and publish it again")
        return "onnx"
    if set(numbers) <= {1, 2} and 2 in numbers:
        raise invalid(
            f"{label} looks like TensorFlow's saved_model.pb; publish the folder that holds it"
        )
    raise invalid(f"{label} begins like ONNX but has no graph; save and publish it again")
