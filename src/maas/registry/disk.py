"""What a full or unwritable disk means to a caller, and how a folder is made durable."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def disk_full() -> MaasError:
    """Makes the error for a disk without room."""
    return MaasError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "the disk that holds the data folder is full, or its quota is used up; nothing was "
        "changed: free some space on it and try again",
    )


def unwritable() -> MaasError:
    """Makes the error for a data folder that may not be written."""
    return MaasError(
        ErrorKind.FAILED_PRECONDITION,
        "the data folder cannot be written by the server's user; nothing was changed: make it "
        "writable and try again",
    )


@contextmanager
def clear_disk_errors() -> Iterator[None]:
    """Turns the operating system's errors about a full or read-only disk into clear ones.

    Raises:
        MaasError: RESOURCE_EXHAUSTED where the disk is full, FAILED_PRECONDITION where the
            folder may not be written. Any other OSError passes as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full() from error
        if error.errno in _UNWRITABLE:
            raise unwritable() from error
        raise


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable: fsync of the folder itself."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Makes a folder (and those above it) where it is missing, open to its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
