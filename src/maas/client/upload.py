"""What a publish sends: one raw file, or one tar stream of regular files, never held in memory."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from maas.client.call import segment
from maas.core.errors import invalid
from maas.core.identity import check_publish_name
from maas.core.records import OperationEvent, PublishOptions

CHUNK = 1 << 18
BLOCK = tarfile.BLOCKSIZE


class Member(Struct, frozen=True):
    """One file of an upload: where it lies, or what it holds, and its size in bytes."""

    name: str
    size: int
    path: str = ""
    data: bytes = b""


class Upload(Struct, frozen=True):
    """A publish request, ready to be sent.

    Args:
        path: the route.
        params: the query.
        content_type: `application/octet-stream` for one raw file, `application/x-tar` for more.
        members: what it holds, in order.
        size: of the body, bytes.
    """

    path: str
    params: tuple[tuple[str, str], ...]
    content_type: str
    members: tuple[Member, ...]
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Yields the body.

        Raises:
            MaasError: INVALID_ARGUMENT where a file can no longer be read, or has changed size.
        """
        if self.content_type == "application/octet-stream":
            yield from _content(self.members[0])
            return
        for member in self.members:
            yield _header(member)
            yield from _content(member)
            yield b"\0" * (-member.size % BLOCK)
        yield b"\0" * (2 * BLOCK)


def prepare(
    source: str | os.PathLike[str], name: str, options: PublishOptions, *, sample: Any, card: Any
) -> Upload:
    """Looks at the files and builds the request; nothing is read but their sizes.

    Args:
        source: the model's file or folder.
        name: the model's name.
        options: what the publisher says about the version.
        sample: None; a file; an array (sent as `.npy`); or a mapping of input names to arrays
            (sent as `.npz`).
        card: None or the model card's file.

    Raises:
        MaasError: INVALID_ARGUMENT for a name, path or figure that cannot be published.
    """
    path = f"/api/models/{segment(check_publish_name(name))}/versions"
    params = _params(options)
    root = Path(source).expanduser()
    members = _model(root)
    extra = ([] if sample is None else [_sample(sample)]) + (
        [] if card is None else [_file(Path(card).expanduser(), "card/README.md")]
    )
    if root.is_file() and not extra:
        (member,) = members
        query = (("filename", root.name), *params)
        return Upload(path, query, "application/octet-stream", (member,), member.size)
    every = (*members, *extra)
    size = sum(len(_header(m)) + m.size + (-m.size % BLOCK) for m in every) + 2 * BLOCK
    return Upload(path, params, "application/x-tar", every, size)


def upload_step(sent: int, size: int) -> OperationEvent:
    """The progress event of an upload; the job's own fraction has not begun to move."""
    unit, scale = ("MB", 1e6) if size >= 1e6 else ("kB", 1e3)
    message = f"uploaded {sent / scale:.1f} of {size / scale:.1f} {unit}"
    return OperationEvent(-1, "upload", message, 0.0)


def _params(options: PublishOptions) -> tuple[tuple[str, str], ...]:
    for figure, value in {"accuracy": options.accuracy, **options.metrics}.items():
        if value is not None and not np.isfinite(value):
            raise invalid(f"the metric {figure!r} is {value}; expected a finite number")
    if options.accuracy is not None and not 0 <= options.accuracy <= 1:
        raise invalid(f"the accuracy is {options.accuracy}; expected a number from 0 to 1")
    for key in (*options.metrics, *options.tags):
        if not key or "=" in key:
            raise invalid(f"{key!r} cannot name a metric or tag: it is empty or holds a '='")
    return (
        *((("description", options.description),) if options.description else ()),
        *((("accuracy", repr(options.accuracy)),) if options.accuracy is not None else ()),
        *(("metric", f"{key}={value!r}") for key, value in options.metrics.items()),
        *(("tag", f"{key}={value}") for key, value in options.tags.items()),
        *(("alias", alias) for alias in options.alias),
        ("promote", "true" if options.promote else "false"),
    )


def _model(root: Path) -> list[Member]:
    if not root.is_dir():
        return [_file(root, f"model/{root.name}")]
    members: list[Member] = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        for link in sorted(each for each in folders if (here / each).is_symlink()):
            raise invalid(f"{here / link} is a link to a folder; copy the folder there instead")
        folders.sort()
        for file in sorted(files):
            inside = (here / file).relative_to(root).as_posix()
            members.append(_file(here / file, f"model/{inside}"))
    if not members:
        raise invalid(f"the folder {root} holds no file; expected a model's files")
    return members


def _file(path: Path, name: str) -> Member:
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


def _sample(sample: Any) -> Member:
    if isinstance(sample, (str, os.PathLike)):
        path = Path(sample).expanduser()
        return _file(path, f"sample/{path.name}")
    buffer = io.BytesIO()
    if isinstance(sample, Mapping):
        # As np.savez writes it, which cannot take an array called "file" and stamps the time.
        with zipfile.ZipFile(buffer, "w") as archive:
            for key, value in sample.items():
                with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w") as entry:
                    np.lib.format.write_array(entry, _plain_array(value), allow_pickle=False)
        data = buffer.getvalue()
        return Member("sample/sample.npz", len(data), data=data)
    np.save(buffer, _plain_array(sample), allow_pickle=False)
    data = buffer.getvalue()
    return Member("sample/sample.npy", len(data), data=data)


def _plain_array(values: Any) -> np.ndarray:
    """Makes an array that can be saved without pickle: object arrays become text or numbers."""
    try:
        array = np.asarray(values)
        array = np.asarray(array.tolist()) if array.dtype == object else array
    except ValueError:
        raise invalid("the sample's rows have different lengths; expected a full array") from None
    if array.dtype == object:
        raise invalid("the sample mixes types in one array; send one array per input, or a file")
    return array


def _header(member: Member) -> bytes:
    # The same files give the same bytes: no times, owners or modes of this machine.
    entry = tarfile.TarInfo(member.name)
    entry.size, entry.mode = member.size, 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)


def _content(member: Member) -> Iterator[bytes]:
    if not member.path:
        yield member.data
        return
    left = member.size
    try:
        with Path(member.path).open("rb") as file:
            while left and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
            grown = not left and file.read(1)
    except OSError as error:
        raise invalid(f"{member.path} cannot be read: {error.strerror}") from None
    if left or grown:
        raise invalid(f"{member.path} changed while it was being sent; publish it again")
