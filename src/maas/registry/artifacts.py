"""Published files on disk, each folder under the SHA-256 of what it holds.

    home/staging/<random>/{artifact,original}      a publish under way, 0700
    home/artifacts/<aa>/<sha256>/{artifact,original}   complete, read-only, never changed

A folder is synced while it is in staging and then renamed, so that under `artifacts` there are
only complete ones.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.registry.disk import clear_disk_errors, make_private, sync_folder
from maas.sandbox.tree import remove_tree

SERVED = "artifact"
"""The folder, within a staged or stored one, of the files that a runtime opens."""
ORIGINAL = "original"
"""The folder of the file as it was published."""

_ADDRESS = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20


class ArtifactStore:
    """The two folders.

    `place` and `sweep` must not run at the same time; the registry holds a lock around both.

    Args:
        home: the data folder.
    """

    def __init__(self, home: Path) -> None:
        self._staging = home / "staging"
        self._artifacts = home / "artifacts"
        with clear_disk_errors():
            make_private(self._staging)
            make_private(self._artifacts)

    def stage(self) -> Path:
        """Makes a fresh folder, open to its owner alone.

        Raises:
            MaasError: RESOURCE_EXHAUSTED where the disk is full.
        """
        with clear_disk_errors():
            return Path(tempfile.mkdtemp(prefix="publish-", dir=self._staging))

    def discard(self, staged: Path) -> None:
        """Removes a staged folder; nothing happens where it is gone already.

        Raises:
            ValueError: the folder is not one of `stage`.
        """
        self._check_staged(staged)
        remove_tree(staged)

    def seal(self, staged: Path, entry: str) -> str:
        """Makes a staged folder read-only and durable.

        Args:
            staged: a folder of `stage`, holding `artifact` and, if kept, `original`.
            entry: what a runtime will open, relative to `artifact`.

        Returns:
            Its address: `tree_digest` of it.

        Raises:
            MaasError: RESOURCE_EXHAUSTED where the disk is full; INVALID_ARGUMENT where it holds
                anything but regular files and folders; INTERNAL where the entry is missing.
            ValueError: the folder is not one of `stage`.
        """
        self._check_staged(staged)
        if not (staged / SERVED / entry).exists():
            raise MaasError(
                ErrorKind.INTERNAL, "the file to serve was not written; nothing was stored"
            )
        with clear_disk_errors():
            return tree_digest(staged, seal=True)

    def place(self, staged: Path, address: str) -> bool:
        """Moves a sealed folder to its address.

        Returns:
            Whether it is new there. If not, what is there already is the same, and stays.

        Raises:
            MaasError: RESOURCE_EXHAUSTED where the disk is full.
        """
        place = self._place(address)
        if place.exists():
            return False
        with clear_disk_errors():
            if not place.parent.exists():
                place.parent.mkdir(mode=0o700)
                sync_folder(self._artifacts)
            staged.rename(place)
            sync_folder(place.parent)
        return True

    def served(self, address: str) -> Path:
        """The folder of the files that a runtime opens."""
        return self._place(address) / SERVED

    def empty_staging(self) -> None:
        """Removes what a process that is gone has left. Only at the start."""
        for leftover in self._staging.iterdir():
            if leftover.is_dir() and not leftover.is_symlink():
                remove_tree(leftover)
            else:
                leftover.unlink()

    def sweep(self, wanted: Collection[str]) -> int:
        """Removes every stored folder whose address is not wanted.

        Returns:
            How many there were.
        """
        orphans = [
            folder.name
            for prefix in self._artifacts.iterdir()
            if prefix.is_dir()
            for folder in prefix.iterdir()
            if _ADDRESS.fullmatch(folder.name) and folder.name not in wanted
        ]
        for address in orphans:
            self.remove(address)
        return len(orphans)

    def remove(self, address: str) -> None:
        """Removes one stored folder."""
        place = self._place(address)
        # Out of sight first: a crash in the middle must not leave a part at the address. The
        # new name needs no new folder, which a full disk would refuse.
        trash = self._staging / f"trash-{address}-{secrets.token_hex(4)}"
        place.rename(trash)
        sync_folder(place.parent)
        remove_tree(trash)

    def _check_staged(self, folder: Path) -> None:
        if folder.parent != self._staging:
            raise ValueError("this is not a staged folder")

    def _place(self, address: str) -> Path:
        return self._artifacts / address[:2] / address


def tree_digest(folder: Path, *, seal: bool = False) -> str:
    """Hashes a folder: the names, sizes and contents of everything in it.

    Args:
        folder: what to hash; its own name does not count.
        seal: also take the write permission from the files, and fsync files and folders.

    Returns:
        SHA-256, 64 hex digits, over one line for each entry in the order of their paths.

    Raises:
        MaasError: INVALID_ARGUMENT where there is a link, a device, a socket or a pipe.
        OSError: a file cannot be read.
    """
    tree = hashlib.sha256()
    folders = [folder]
    for path in sorted(folder.rglob("*")):
        name = os.fsencode(path.relative_to(folder).as_posix())
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            folders.append(path)
            tree.update(b"folder\0%b\n" % name)
        elif stat.S_ISREG(mode):
            size, digest = _file_digest(path, seal=seal)
            tree.update(b"file\0%b\0%d\0%b\n" % (name, size, digest.encode()))
        else:
            raise invalid(
                f"{path.name[:80]!r} is neither a file nor a folder; publish regular files only"
            )
    if seal:
        for inner in reversed(folders):
            sync_folder(inner)
    return tree.hexdigest()


def _file_digest(path: Path, *, seal: bool) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    # O_NOFOLLOW: what lstat saw as a file is still one.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
        if seal:
            os.fchmod(file.fileno(), 0o400)
            os.fsync(file.fileno())
    return size, digest.hexdigest()
