"""Looks through a `.keras` or `.h5` file before Keras does.

A `.keras` file is a zip: metadata.json, config.json (which classes, with which arguments),
model.weights.h5 and assets. A `.h5` file holds the same configuration as an attribute.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.publish.hdf5_scan import MODEL_CONFIG, scan_hdf5
from maas.publish.keras_config import Classes, classes_of
from maas.publish.messages import Job
from maas.publish.pickles import HEAD, looks_like_pickle

MIB = 1 << 20
BEYOND = 256 * MIB
"""Bytes that unpacking may yield beyond the file's own size (`security.md`, archive bombs)."""
RATIO = 200
MOST_MEMBERS = 10_000
MOST_CONFIG = 64 * MIB
METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_ASSET = re.compile(r"assets(/[^/\\\x00-\x1f\x7f]{1,200}){1,12}/?")
KERAS_2_CURE = "save it there with tf.saved_model.save(model, 'folder') and publish the folder"
SAFER = "save it as a SavedModel with model.export('folder') and publish the folder"


class KerasScan(Struct, frozen=True):
    """What the file says about itself.

    Args:
        written_with: `keras` and, where it says so, the backend.
        custom: names of classes and functions that are not Keras's own.
    """

    written_with: dict[str, str]
    custom: tuple[str, ...]


def scan_keras(job: Job) -> KerasScan:
    """Checks the file of a job.

    Raises:
        MaasError: INVALID_ARGUMENT or TOO_LARGE, one sentence.
    """
    source = Path(job.source)
    if job.format == "keras":
        return _scan_zip(source, Path(job.work), job.trust)
    if not job.trust:
        raise invalid(
            "a Keras .h5 file can carry code that runs when it is opened; save it with "
            "model.save('model.keras') and publish that, or publish it with --trust"
        )
    return _scan_h5(source)


def _scan_h5(source: Path) -> KerasScan:
    attributes = scan_hdf5(source, source.stat().st_size, "the .h5 file")
    text = attributes.get(MODEL_CONFIG)
    if text is None:
        raise invalid(
            "the .h5 file holds weights without a model; save the whole model with "
            "model.save('model.keras') and publish that"
        )
    classes = classes_of(_decode(text.encode(), "the model_config of the .h5 file"))
    written = {"keras": attributes.get("keras_version", "unknown")[:40]}
    if attributes.get("backend"):
        written["backend"] = attributes["backend"][:40]
    return KerasScan(written, classes.custom)


def _scan_zip(source: Path, work: Path, trust: bool) -> KerasScan:
    try:
        with zipfile.ZipFile(source) as archive:
            _check_members(archive, source.stat().st_size)
            metadata = _decode(_read(archive, METADATA), METADATA)
            config = _decode(_read(archive, CONFIG), CONFIG)
            weights = work / "weights.h5"
            with archive.open(WEIGHTS) as member, weights.open("wb") as file:
                shutil.copyfileobj(member, file, MIB)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, KeyError) as error:
        raise invalid("the .keras file is cut off or damaged; save and publish it again") from error
    try:
        scan_hdf5(weights, weights.stat().st_size, f"{WEIGHTS} in the .keras file")
    finally:
        weights.unlink(missing_ok=True)
    if not isinstance(metadata, dict) or not isinstance(config, dict):
        raise invalid(f"{METADATA} or {CONFIG} in the .keras file is not Keras's; save it again")
    # Loaded with compile=False, a model's own losses and metrics are never looked at.
    classes = classes_of({k: v for k, v in config.items() if k != "compile_config"})
    version = str(metadata.get("keras_version", "unknown"))[:40]
    if not trust:
        _require_safe(classes, version)
    return KerasScan({"keras": version}, classes.custom)


def _require_safe(classes: Classes, version: str) -> None:
    if classes.unsafe:
        raise invalid(
            f"the model holds {classes.unsafe[0]}, which can run code or read files when it is "
            f"opened; {SAFER}, or publish it with --trust"
        )
    if classes.custom:
        names = ", ".join(repr(name) for name in classes.custom[:4])
        if version.startswith("2."):
            raise invalid(
                f"the model was saved by Keras {version} and uses {names}, which Keras 3 does not "
                f"have; {KERAS_2_CURE}"
            )
        raise invalid(
            f"the model uses {names}, which Keras does not have, so opening it needs code; "
            f"{SAFER}, or publish it with --trust and --code with the file that defines it"
        )


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(members) > MOST_MEMBERS or len(set(names)) != len(names):
        raise invalid("the .keras file holds too many members, or two of one name; save it again")
    for name in (METADATA, CONFIG, WEIGHTS):
        if name not in names:
            raise invalid(f"the .keras file lacks {name}; save it with model.save('model.keras')")
    for member in members:
        _check_member(archive, member)
    if sum(member.file_size for member in members) > size + BEYOND:
        raise _bomb("the .keras file unpacks to more than 256 MiB beyond its own size")


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    name, what = member.filename, "the .keras file"
    parts = name.split("/")
    if name not in (METADATA, CONFIG, WEIGHTS) and (
        not _ASSET.fullmatch(name) or "." in parts or ".." in parts
    ):
        raise invalid(
            f"{what} holds a member {name[:60]!r}; expected {METADATA}, {CONFIG}, {WEIGHTS} and "
            "assets"
        )
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise invalid(f"{what} holds a link or device {name[:60]!r}; expected regular files")
    if member.flag_bits & 1:
        raise invalid(f"{what} is encrypted; publish it without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise invalid(f"{what} is compressed in a way that is not read here; save it again")
    if member.file_size > MIB and member.file_size > RATIO * max(member.compress_size, 1):
        raise _bomb(f"{name[:60]!r} in {what} unpacks to more than {RATIO} times its size")
    if name in (METADATA, CONFIG) and member.file_size > MOST_CONFIG:
        raise _bomb(f"{name} in {what} is larger than 64 MiB")
    with archive.open(member) as file:
        head = file.read(HEAD)
    if name == WEIGHTS and not head.startswith(b"\x89HDF\r\n\x1a\n"):
        kind = "a pickle" if looks_like_pickle(head) else "not HDF5"
        raise invalid(f"{WEIGHTS} in {what} is {kind}; save it with model.save('model.keras')")


def _bomb(what: str) -> MaasError:
    return MaasError(ErrorKind.TOO_LARGE, f"{what}; save the model and publish it again")


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        return file.read(MOST_CONFIG + 1)


def _decode(data: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise invalid(f"{what} is nested too deeply to be read") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"{what} is not JSON; save the model again") from error
