"""The published bytes: their digest, and their place in the staging folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.records import PublishOptions
from maas.publish.detect_folder import DEFAULT_FILES, version_folders

ORIGINAL = "original"
ARTIFACT = "artifact"
WORK = "work"
_BLOCK = 1 << 20


class Upload(Struct, frozen=True):
    """What a publisher sent, inside a staging folder.

    Args:
        path: the file or folder.
        filename: what the publisher called it.
        sample: rows to prove on (.npy, .npz, .json, .csv), or None.
        staged: the staging folder, made by `Registry.stage`.
        code: a folder of modules that travel with the model, or None.
    """

    path: Path
    filename: str
    sample: Path | None
    staged: Path
    code: Path | None = None


def digest_of(path: Path) -> str:
    """`sha256:<hex>` of a file's bytes, or of a folder's names, sizes and contents.

    Raises:
        MaasError: INVALID_ARGUMENT for a folder that holds anything but files and folders.
    """
    if not path.is_dir() or path.is_symlink():
        return f"sha256:{_file_digest(path)}"
    tree = hashlib.sha256()
    for inner in sorted(path.rglob("*")):
        mode = inner.lstat().st_mode
        name = os.fsencode(inner.relative_to(path).as_posix())
        if stat.S_ISREG(mode):
            tree.update(
                b"%b\0%d\0%b\n" % (name, inner.stat().st_size, _file_digest(inner).encode())
            )
        elif not stat.S_ISDIR(mode):
            raise invalid(
                f"{inner.name[:60]!r} in the folder is a link or a device; "
                "expected regular files only"
            )
    return f"sha256:{tree.hexdigest()}"


def fingerprint_of(
    digest: str, sample: Path | None, options: PublishOptions, code: Path | None = None
) -> str:
    """The same for the same bytes, sample, options and code, and for nothing else.

    Raises:
        MaasError: INVALID_ARGUMENT for a code folder that holds anything but files and folders.
    """
    said = msgspec.json.encode(options, order="deterministic")
    given = _file_digest(sample) if sample is not None else ""
    # Nothing is added where there is no code: versions published before keep their fingerprint.
    modules = f"{digest_of(code)}\0" if code is not None else ""
    return hashlib.sha256(f"{digest}\0{given}\0{modules}".encode() + said).hexdigest()


WHOLE_FOLDERS = frozenset({"saved_model.pb", "MLmodel", "config.json", "config.pbtxt"})
"""Files that mean the folder they are in, also where they are alone in it."""


def is_the_model(folder: Path) -> Path:
    """What a folder that was sent stands for: what is alone in it, unless that means the folder.

    Args:
        folder: with at least one entry.
    """
    entries = sorted(folder.iterdir())
    only = entries[0]
    if len(entries) > 1 or (only.is_file() and only.name in WHOLE_FOLDERS):
        return folder
    if only.name in version_folders(folder) and any(
        (only / name).exists() for name in DEFAULT_FILES
    ):
        return folder  # a Triton model without a configuration, which is one with its version
    return only


def keep_original(upload: Upload) -> Path:
    """Moves what was published to `original/` in the staging folder; returns where it is."""
    folder = upload.staged / ORIGINAL
    if upload.path.is_relative_to(folder):
        return upload.path
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = folder / upload.path.name
    upload.path.rename(kept)
    return kept


def link_published(kept: Path, artifact: Path, linked: Mapping[str, str], digest: str) -> None:
    """Puts published files into the artifact folder, without a second copy where there are links.

    Args:
        kept: the published file or folder.
        artifact: the folder of the files to serve.
        linked: as vetted: name in the artifact folder → name in the published one.
        digest: of what was published, when it came.

    Raises:
        MaasError: INVALID_ARGUMENT where it has changed since: its reader may write to it.
    """
    if digest_of(kept) != digest:
        raise invalid("the model's reader changed what was published; publish it again")
    for name, origin in linked.items():
        source, place = kept / origin if origin else kept, artifact / name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.link(source, place, follow_symlinks=False)
        except OSError:  # a file system without links
            shutil.copyfile(source, place, follow_symlinks=False)


def clear_rest(staged: Path) -> None:
    """Removes everything from the staging folder but the original and the artifact."""
    for child in sorted(staged.rglob("*"), reverse=True):
        if child.relative_to(staged).parts[0] in (ORIGINAL, ARTIFACT):
            continue
        if child.is_dir() and not child.is_symlink():
            child.rmdir()
        else:
            child.unlink()


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
