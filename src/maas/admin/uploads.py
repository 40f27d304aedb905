"""From a request body to files in a staging folder: one raw file, or a tar stream.

Nothing is written outside the staging folder. An upload that is refused is refused whole: the
caller discards the folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from maas.admin.tar import FileData, FileStart, TarReader
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.publish.uploads import is_the_model
from maas.registry.disk import clear_disk_errors

WRITE_BYTES = 1 << 20
"""Arriving chunks are gathered up to this size before a thread writes them."""

MAX_FILENAME_BYTES = 255
DEFAULT_FILENAME = "model"
ROOTS = ("model", "sample", "card", "code")
"""What a tar stream may hold: the model's files, a sample of inputs, a model card, modules."""


class Received(Struct, frozen=True):
    """What an upload left in the staging folder.

    Args:
        path: the model's file or folder.
        filename: its name as the publisher had it.
        sample: a file of sample inputs, or None.
        card: a model card, or None.
        code: a folder of Python modules that the model needs, or None.
    """

    path: Path
    filename: str
    sample: Path | None = None
    card: Path | None = None
    code: Path | None = None


class _Sink(Protocol):
    """Where bytes go; called from one thread at a time."""

    def feed(self, data: bytes) -> None: ...

    def finish(self) -> Received: ...

    def close(self) -> None: ...


def check_filename(filename: str) -> str:
    """Returns a file's name if it is one plain name.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if (
        filename in ("", ".", "..")
        or any(character in "/\\" or ord(character) < 32 for character in filename)
        or len(filename.encode("utf-8", "replace")) > MAX_FILENAME_BYTES
    ):
        raise invalid(
            f"{filename[:80]!r} cannot be a file name; use a plain name without slashes, such as "
            "iris.onnx"
        )
    return filename


async def receive_file(
    chunks: AsyncIterator[bytes], folder: Path, filename: str, limit_bytes: int
) -> Received:
    """Writes a raw body to one file in `folder`.

    Args:
        chunks: the request body.
        folder: an empty folder of this upload's own.
        filename: the file's name there; `check_filename`.
        limit_bytes: largest body.

    Raises:
        MaasError: INVALID_ARGUMENT for an empty body or a bad name, TOO_LARGE past the limit,
            RESOURCE_EXHAUSTED when the disk is full.
    """
    path = folder / check_filename(filename)
    return await _pump(chunks, lambda: _FileSink(path), limit_bytes)


async def receive_tar(chunks: AsyncIterator[bytes], folder: Path, limit_bytes: int) -> Received:
    """Unpacks a tar stream with `model/…` and perhaps `sample/FILE`, `card/FILE` and `code/…`.

    What is published is the one file or folder in `model/`, or else `model/` itself.

    Args:
        chunks: the request body.
        folder: an empty folder of this upload's own.
        limit_bytes: largest body.

    Raises:
        MaasError: INVALID_ARGUMENT for anything but regular files at plain relative paths,
            TOO_LARGE past the limit, RESOURCE_EXHAUSTED when the disk is full.
    """
    # Headers and padding come on top of the files: a stream of exactly the limit still passes.
    overhead = 16 * WRITE_BYTES
    return await _pump(chunks, lambda: _TarSink(folder, limit_bytes), limit_bytes + overhead)


async def _pump(
    chunks: AsyncIterator[bytes], make_sink: Callable[[], _Sink], limit_bytes: int
) -> Received:
    total = 0
    gathered = bytearray()
    sink: _Sink | None = None
    with clear_disk_errors():
        try:
            sink = make_sink()
            async for chunk in chunks:
                total += len(chunk)
                if total > limit_bytes:
                    raise MaasError(
                        ErrorKind.TOO_LARGE,
                        f"the upload is larger than the {limit_bytes} bytes allowed",
                    )
                gathered += chunk
                if len(gathered) >= WRITE_BYTES:
                    await asyncio.to_thread(sink.feed, bytes(gathered))
                    gathered.clear()
            if not total:
                raise invalid(
                    "the request has no body, or an empty file; "
                    "send the model's file, or a tar of its files"
                )
            await asyncio.to_thread(sink.feed, bytes(gathered))
            return await asyncio.to_thread(sink.finish)
        finally:
            if sink is not None:
                sink.close()


class _FileSink:
    def __init__(self, path: Path):
        self._path = path
        self._file: BinaryIO = path.open("xb")

    def feed(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self) -> Received:
        self._file.flush()
        return Received(self._path, self._path.name)

    def close(self) -> None:
        self._file.close()


class _TarSink:
    def __init__(self, folder: Path, limit_bytes: int):
        self._folder = folder
        self._reader = TarReader(limit_bytes)
        self._file: BinaryIO | None = None

    def feed(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            if isinstance(event, FileStart):
                self._file = self._create(event.parts)
            elif isinstance(event, FileData):
                assert self._file is not None
                self._file.write(event.data)
            elif self._file is not None:
                self._file.close()
                self._file = None

    def finish(self) -> Received:
        self._reader.finish()
        model = self._folder / "model"
        if not model.is_dir():
            raise invalid("the tar stream has no model/ folder; put the model's files there")
        path = is_the_model(model)
        code = self._folder / "code"
        return Received(
            path,
            path.name,
            sample=self._only_file("sample"),
            card=self._only_file("card"),
            code=code if code.is_dir() else None,
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _create(self, parts: tuple[str, ...]) -> BinaryIO:
        shown = "/".join(parts)[:80]
        if len(parts) < 2 or parts[0] not in ROOTS:
            raise invalid(
                f"{shown!r} in the tar stream is in none of the folders model/, sample/, card/ "
                "and code/"
            )
        path = self._folder.joinpath(*parts)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The folders are ours and hold no links; "x" refuses what is already there.
            return path.open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise invalid(f"{shown!r} is in the tar stream twice") from None

    def _only_file(self, root: str) -> Path | None:
        folder = self._folder / root
        if not folder.exists():
            return None
        entries = list(folder.iterdir())
        if len(entries) != 1 or not entries[0].is_file():
            raise invalid(f"the folder {root}/ in the tar stream may hold one file only")
        return entries[0]
