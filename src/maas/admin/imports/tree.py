"""Reading a folder that somebody else may be writing: what is in it, and a copy of it.

Every step goes by an open folder's descriptor and follows no link, so that what was looked at is
what is read, whatever is renamed meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid

MAX_FILES = 10_000
MAX_DEPTH = 32
_BLOCK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe would wait for its writer for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Member(Struct, frozen=True):
    """One entry of a folder: its path in it, what it is, and its open parent's descriptor."""

    parts: tuple[str, ...]
    status: os.stat_result
    parent: int


class Look(Struct, frozen=True):
    """A folder as it is now.

    Args:
        stamp: hex digest over the paths, kinds, sizes, times and inodes in it.
        changed_ns: when something in it changed last, wall-clock ns; 0 where it is empty.
        files: how many entries other than folders.
    """

    stamp: str
    changed_ns: int
    files: int


def look(folder: Path, inside: Sequence[str], leave_out: Collection[str] = ()) -> Look:
    """Looks at a folder without opening its files.

    Args:
        folder: a folder that may be reached through links.
        inside: the names that lead on from it, none of them a link.
        leave_out: names at its top that do not count.

    Raises:
        MaasError: INVALID_ARGUMENT where there is too much in it.
        OSError: it cannot be read, or is being changed at this moment.
    """
    digest = hashlib.sha256()
    changed, files = 0, 0
    for member in walk(folder, inside, leave_out):
        status = member.status
        kind = stat.S_IFMT(status.st_mode)
        path = os.fsencode("/".join(member.parts))
        if kind == stat.S_IFDIR:
            digest.update(b"folder\0%b\n" % path)
        else:
            files += 1
            # Copying can keep size and time, and the inode of what was deleted is used again: only
            # st_ctime cannot be set.
            times = (status.st_mtime_ns, status.st_ctime_ns)
            about = (kind, status.st_size, times, status.st_ino, status.st_nlink)
            digest.update(b"%b\0%b\n" % (path, repr(about).encode()))
        changed = max(changed, status.st_mtime_ns, status.st_ctime_ns)
    return Look(digest.hexdigest(), changed, files)


def copy(
    folder: Path,
    inside: Sequence[str],
    target: Path,
    limit_bytes: int,
    stop: threading.Event,
    leave_out: Collection[str] = (),
) -> None:
    """Copies a folder's regular files.

    Args:
        folder: a folder that may be reached through links.
        inside: the names that lead on from it, none of them a link.
        target: a new folder, open to its owner alone.
        limit_bytes: most bytes that all files together may have.
        stop: set when nobody waits for the copy any more.
        leave_out: names at its top that are not copied.

    Raises:
        MaasError: INVALID_ARGUMENT for links, hard links, pipes, sockets and devices, and for
            names that cannot be kept; TOO_LARGE; UNAVAILABLE where a file changes meanwhile;
            CANCELLED once `stop` is set.
        OSError: a file cannot be read or written.
    """
    target.mkdir(mode=0o700)
    left = limit_bytes
    for member in walk(folder, inside, leave_out):
        shown = _checked(member.parts)
        place = target.joinpath(*member.parts)
        mode = member.status.st_mode
        if stat.S_ISDIR(mode):
            place.mkdir(mode=0o700)
            continue
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "neither a file nor a folder")
            raise invalid(f"{shown} is {kind}; put the file itself there")
        left -= member.status.st_size
        if left < 0:
            raise MaasError(
                ErrorKind.TOO_LARGE,
                f"its files are larger than the {limit_bytes} bytes that one model may have; "
                "raise limits.upload_bytes to import it",
            )
        _copy_file(member, place, shown, stop)


def walk(folder: Path, inside: Sequence[str], leave_out: Collection[str] = ()) -> Iterator[Member]:
    """Yields what is in a folder, each folder before what is in it, in the order of names.

    Args:
        folder: a folder that may be reached through links.
        inside: the names that lead on from it, none of them a link.
        leave_out: names at its top that are passed over.

    Raises:
        MaasError: INVALID_ARGUMENT where there is too much in it.
        OSError: it cannot be read, or is being changed at this moment.
    """
    root = os.open(os.path.realpath(folder), _FOLDER)
    try:
        for name in inside:
            outer, root = root, os.open(name, _FOLDER, dir_fd=root)
            os.close(outer)
        for count, member in enumerate(_below(root, (), leave_out)):
            if count == MAX_FILES:
                raise invalid(f"it holds more than {MAX_FILES} files; take away what is no model")
            yield member
    finally:
        os.close(root)


def _below(
    parent: int, parts: tuple[str, ...], leave_out: Collection[str] = ()
) -> Iterator[Member]:
    if len(parts) >= MAX_DEPTH:
        raise invalid(f"its folders are nested more than {MAX_DEPTH} deep; make it flatter")
    with os.scandir(parent) as entries:
        names = sorted(entry.name for entry in islice(entries, MAX_FILES + 1))
    for name in names:
        if name in leave_out:
            continue
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        yield Member((*parts, name), status, parent)
        if stat.S_ISDIR(status.st_mode):
            inner = os.open(name, _FOLDER, dir_fd=parent)
            try:
                yield from _below(inner, (*parts, name))
            finally:
                os.close(inner)


def _copy_file(member: Member, place: Path, shown: str, stop: threading.Event) -> None:
    with os.fdopen(os.open(member.parts[-1], _FILE, dir_fd=member.parent), "rb", 0) as source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _changing(shown)
        if status.st_nlink != 1:
            raise invalid(f"{shown} is a hard link; put a copy of the file there")
        left = member.status.st_size
        with place.open("xb") as target:
            while block := source.read(min(_BLOCK, left + 1)):
                if stop.is_set():
                    raise MaasError(ErrorKind.CANCELLED, "the copy was stopped")
                left -= len(block)
                if left < 0:
                    break
                target.write(block)
    if left:
        raise _changing(shown)


def _changing(shown: str) -> MaasError:
    return MaasError(ErrorKind.UNAVAILABLE, f"{shown} changed while it was read")


def _checked(parts: tuple[str, ...]) -> str:
    """How a path is shown, after seeing that it can be kept."""
    path = "/".join(parts)
    shown = repr(path[:80].encode(errors="backslashreplace").decode())
    try:
        path.encode()
    except UnicodeEncodeError:
        raise invalid(f"the name {shown} is not UTF-8; rename it") from None
    if "\\" in path or not path.isprintable():
        raise invalid(f"the name {shown} holds a backslash or a control character; rename it")
    return shown
