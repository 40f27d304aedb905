"""Which models are to be watched, and which versions lie in a model's folder.

settings ─▶ Scan of Sources        Source ─▶ numbers ─▶ Looks ─▶ copies in a staging folder
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from maas.admin.imports import tree
from maas.admin.imports.modelsconfig import (
    MAX_CONFIG_BYTES,
    read_models_config,
    triton_policy,
)
from maas.admin.imports.sources import Scan, Source
from maas.admin.uploads import Received
from maas.core.errors import MaasError, invalid
from maas.core.identity import check_name, check_publish_name
from maas.publish.detect_folder import DEFAULT_FILES
from maas.publish.uploads import is_the_model
from maas.registry.drafts import MAX_NUMBER
from maas.settings import ImportSettings

TRITON_CONFIG = "config.pbtxt"
MAX_LISTED = 100_000
"""Entries of one folder of versions or models."""

_NUMBER = re.compile(r"[0-9]{1,18}")
_COMPLETED = frozenset(DEFAULT_FILES) - {"model.onnx"}
"""What a version folder of Triton's holds where there is no configuration; ONNX needs none."""


def scanner(settings: ImportSettings) -> Callable[[], Scan]:
    """How these settings find their models: called again and again, from any thread.

    The function raises MaasError or OSError where nothing can be said about them now.
    """
    if settings.repository:
        return lambda: scan_repository(Path(settings.repository))
    if settings.config_file:
        return ConfigFile(Path(settings.config_file))
    source = Source(check_name(settings.model_name), settings.base_path)
    return lambda: Scan((source,))


def scan_repository(folder: Path) -> Scan:
    """The models of a Triton repository: a folder each, perhaps with a `config.pbtxt`.

    Raises:
        OSError: the folder cannot be listed.
    """
    sources: dict[str, Source] = {}
    problems: dict[str, str] = {}
    for entry in _entries(folder):
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_symlink():
                raise invalid("it is a link; put the model's folder itself there")
            if not entry.is_dir(follow_symlinks=False):
                continue
            name = check_publish_name(entry.name)
            if name in sources:
                raise invalid(f"{sources[name].inside!r} has the same name already")
        except MaasError as error:
            problems[shown(entry.name)] = error.message
            continue
        sources[name] = _repository_source(name, str(folder), entry.name)
    found = tuple(sources[name] for name in sorted(sources))
    return Scan(found, problems, complete=bool(found))


class ConfigFile:
    """A `models.config`, read again when it changes; what cannot be read leaves what was.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        self._path = path
        self._text: bytes | None = None
        self._scan = Scan((), complete=False)

    def __call__(self) -> Scan:
        """The models that it names.

        Raises:
            OSError: it cannot be read.
        """
        with self._path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if text == self._text:
            return self._scan
        self._text = text
        try:
            beside = Path(os.path.realpath(self._path)).parent
            self._scan = Scan(read_models_config(text, beside))
        except MaasError as error:
            kept = "; the models stay as they were" if self._scan.sources else ""
            problem = {self._path.name: f"{error.message}{kept}"}
            self._scan = Scan(self._scan.sources, problem, complete=False)
        return self._scan


def version_folders(source: Source) -> tuple[dict[int, str], dict[str, str]]:
    """The version folders of a model by number, and what looks like one and is none, with why.

    Raises:
        OSError: the folder cannot be listed.
    """
    found: dict[int, str] = {}
    problems: dict[str, str] = {}
    for entry in sorted(_entries(Path(source.folder, source.inside)), key=lambda entry: entry.name):
        name = entry.name
        if not _NUMBER.fullmatch(name) or (source.triton and name.startswith("0")):
            continue
        number = int(name)
        if entry.is_symlink():
            problems[name] = "it is a link; put the version's folder itself there"
        elif not entry.is_dir(follow_symlinks=False):
            problems[name] = "it is a file; expected a folder with the version's files"
        elif not 1 <= number <= MAX_NUMBER:
            problems[name] = f"versions are numbered from 1 to {MAX_NUMBER}"
        elif number in found:
            problems[name] = f"{found[number]!r} is the same version already"
        else:
            found[number] = name
    return found, problems


def look_at(source: Source, folders: dict[int, str], number: int) -> tree.Look:
    """A version as it is now, the files that it shares with the model's other versions included.

    Raises:
        MaasError, OSError: as `tree.look`.
    """
    inside, leave_out = _place(source, folders, number)
    return tree.look(Path(source.folder), inside, leave_out)


def take(
    source: Source,
    folders: dict[int, str],
    number: int,
    upload: Path,
    limit_bytes: int,
    stop: threading.Event,
) -> Received:
    """Copies a version into an upload's folder, as if it had been sent.

    Args:
        source: the model.
        folders: its version folders.
        number: which.
        upload: a folder to be made.
        limit_bytes: most bytes of it.
        stop: set when nobody waits for it any more.

    Raises:
        MaasError, OSError: as `tree.copy`.
    """
    inside, leave_out = _place(source, folders, number)
    upload.mkdir(mode=0o700)
    whole = upload / source.name
    if source.triton:
        tree.copy(Path(source.folder), inside, whole, limit_bytes, stop, leave_out)
        return Received(whole, whole.name)
    whole.mkdir(mode=0o700)
    target = whole / folders[number]
    tree.copy(Path(source.folder), inside, target, limit_bytes, stop)
    entries = list(target.iterdir())
    if source.inside and any(entry.name in _COMPLETED for entry in entries):
        return Received(whole, whole.name)
    only = is_the_model(target) if entries else target
    path = only if only.is_file() else target
    return Received(path, path.name)


def _repository_source(name: str, repository: str, inside: str) -> Source:
    config = Path(repository, inside, TRITON_CONFIG)
    try:
        descriptor = os.open(config, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Source(name, repository, inside)
    except OSError:
        # A link, or not to be read: its copy is refused, with the reason.
        return Source(name, repository, inside, triton=True)
    with os.fdopen(descriptor, "rb", 0) as file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        text = file.read(MAX_CONFIG_BYTES + 1) if regular else b""
    return Source(name, repository, inside, triton_policy(text), triton=True)


def _place(
    source: Source, folders: dict[int, str], number: int
) -> tuple[tuple[str, ...], set[str]]:
    """Where a version lies in the source's folder, and what lies there that is not of it."""
    if not source.triton:
        return tuple(filter(None, (source.inside, folders[number]))), set()
    return (source.inside,), {name for other, name in folders.items() if other != number}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        listed: list[os.DirEntry[str]] = []
        for entry in entries:
            if len(listed) == MAX_LISTED:
                raise invalid(f"{folder.name!r} holds more than {MAX_LISTED} entries")
            listed.append(entry)
        return listed


def shown(name: str) -> str:
    """A name from the disk as it may be written anywhere."""
    return "".join(one if one.isprintable() else "?" for one in name)[:80]


def said(error: MaasError | OSError) -> str:
    """What stood in the way, one clause."""
    if isinstance(error, MaasError):
        return error.message
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "it is a link or a file; expected a folder"
    return f"it cannot be read ({error.strerror or type(error).__name__})"
