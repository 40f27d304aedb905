"""What a full or unwritable disk means to a caller, and how a folder is made durable."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

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


def remove_tree(folder: Path) -> None:
    """Removes a folder with all it holds, as far as that is possible.

    What resists stays where it is: whoever calls this has already put the folder where the next
    start sweeps it, and a leftover must not turn a finished job into a failed one.

    A model may have made what is in it: folders closed to their owner, and nested deeper than a
    path or a stack reaches. So each folder is brought up beside its parent and then emptied.
    """
    with suppress(OSError):
        folder.chmod(0o700)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _empty(top)
        finally:
            os.close(top)
        folder.rmdir()


def _empty(top: int) -> None:
    pending = deque(_folders_left(top))
    while pending:
        name = pending.popleft()
        with suppress(OSError):
            # Its parent has just been listed: a folder, not a link.
            os.chmod(name, 0o700, dir_fd=top)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                for deeper in _folders_left(inner):
                    with suppress(OSError):
                        # A folder can only be moved where it may be written.
                        os.chmod(deeper, 0o700, dir_fd=inner)
                        brought = uuid4().hex  # a name that nobody has put there before
                        os.rename(deeper, brought, src_dir_fd=inner, dst_dir_fd=top)
                        pending.append(brought)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)


def _folders_left(folder: int) -> list[str]:
    """Removes all files of an open folder; gives the names of its folders."""
    left = []
    for name in os.listdir(folder):
        with suppress(OSError):
            if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                left.append(name)
            else:
                os.unlink(name, dir_fd=folder)
    return left
