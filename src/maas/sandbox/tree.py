"""Removing a folder that a model may have filled: `remove_tree`."""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


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
