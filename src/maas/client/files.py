"""The files of an upload: which there are, under which names, and their bytes, read as they go."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.upstreams import parse_upstream

CHUNK = 1 << 18
SOURCE_SUFFIXES = (".pyc", ".pyo")
"""Endings of compiled files, which a folder of modules is sent without."""


class Member(Struct, frozen=True):
    """One file of an upload: where it lies, or what it holds, and its size in bytes."""

    name: str
    size: int
    path: str = ""
    data: bytes = b""

    def content(self) -> Iterator[bytes]:
        """Yields its bytes.

        Raises:
            MaasError: INVALID_ARGUMENT where it can no longer be read, or has changed size.
        """
        if not self.path:
            yield self.data
            return
        left = self.size
        try:
            with Path(self.path).open("rb") as file:
                while left and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk
                grown = not left and file.read(1)
        except OSError as error:
            raise invalid(f"{self.path} cannot be read: {error.strerror}") from None
        if left or grown:
            raise invalid(f"{self.path} changed while it was being sent; publish it again")


def model_files(root: Path) -> list[Member]:
    """A model's file below `model/`, or every file of its folder below `model/FOLDER/`.

    A folder keeps its name: a package imports its own modules by it. One with a single file is
    that file.

    Raises:
        MaasError: INVALID_ARGUMENT for what is not there, is empty or is no regular file.
    """
    if not root.is_dir():
        return [one_file(root, f"model/{root.name}")]
    found = list(_walk(root))
    if not found:
        raise invalid(f"the folder {root} holds no file; expected a model's files")
    name = root.resolve().name
    top = f"model/{name}/" if name and len(found) > 1 else "model/"
    return [one_file(path, top + inside) for path, inside in found]


def upstream_file(url: str) -> Member:
    """The file that says where another server serves the model.

    Raises:
        MaasError: INVALID_ARGUMENT for a URL that cannot be read.
    """
    data = msgspec.json.encode({"upstream": parse_upstream(url).url})
    return Member("model/upstream.json", len(data), data=data)


def code_files(sources: Iterable[str | os.PathLike[str]]) -> list[Member]:
    """The modules that travel with a model, below `code/`, which is put on the import path there.

    A file and a package (a folder with `__init__.py`) keep their names; of any other folder the
    contents are sent, as if the folder itself were on the import path. Hidden files and compiled
    ones stay behind.

    Raises:
        MaasError: INVALID_ARGUMENT for what is not there, is empty, or would be there twice.
    """
    members: dict[str, Member] = {}
    for source in sources:
        root = Path(source).expanduser()
        if root.is_dir():
            package = (root / "__init__.py").is_file()
            top = f"code/{root.resolve().name}/" if package else "code/"
            found = [
                one_file(path, top + inside) for path, inside in _walk(root) if _is_source(inside)
            ]
        else:
            found = [one_file(root, f"code/{root.name}")]
        if not found:
            raise invalid(f"the folder {root} holds no module; expected Python files")
        for member in found:
            if member.name in members:
                raise invalid(
                    f"{member.path} and {members[member.name].path} would both be "
                    f"{member.name.removeprefix('code/')!r} for the model; give one of them"
                )
            members[member.name] = member
    return list(members.values())


def one_file(path: Path, name: str) -> Member:
    """A regular file as a member of that name.

    Raises:
        MaasError: INVALID_ARGUMENT for what is none, or a name that is not UTF-8.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise invalid(f"{path} cannot be read: {reason}") from None
    if not stat.S_ISREG(found.st_mode):
        raise invalid(f"{path} is not a regular file")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise invalid(f"the name of {path!r} is not valid UTF-8; rename the file") from None
    return Member(name, found.st_size, path=str(path))


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields each file of a folder and its path inside, in an order that does not vary."""
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        for link in sorted(each for each in folders if (here / each).is_symlink()):
            raise invalid(f"{here / link} is a link to a folder; copy the folder there instead")
        folders.sort()
        for file in sorted(files):
            yield here / file, (here / file).relative_to(root).as_posix()


def _is_source(inside: str) -> bool:
    parts = inside.split("/")
    hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
    return not hidden and not inside.endswith(SOURCE_SUFFIXES)
