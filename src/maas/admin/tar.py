"""Reading a tar stream as it arrives, strictly: regular files and folders, nothing else.

bytes ─▶ `TarReader.feed` ─▶ FileStart, FileData…, FileEnd, FileStart, …

No I/O, and memory for one header only. The format is POSIX.1-2001 (ustar with pax headers) and
GNU's long names; links, devices, sparse files and everything else that a model does not need is
refused, and so is a name that would lead out of the folder it is unpacked into.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid

BLOCK = 512
MAX_FILES = 10_000
MAX_PATH_BYTES = 1024
MAX_PART_BYTES = 255
MAX_DEPTH = 32
MAX_EXTENSION_BYTES = 256 * 1024
"""Largest pax header or long name, which are the only parts held in memory."""

_REGULAR = (b"0", b"\0")
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"S": "a sparse file",
}


class FileStart(Struct, frozen=True):
    """A regular file begins: where it belongs, and how many bytes follow."""

    parts: tuple[str, ...]
    size: int


class FileData(Struct, frozen=True):
    """Some of the bytes of the file that began last."""

    data: bytes


class FileEnd(Struct, frozen=True):
    """The file that began last is whole."""


Event = FileStart | FileData | FileEnd


class TarReader:
    """Takes a tar stream in pieces of any size and says what is in it.

    Args:
        limit_bytes: what all files together may hold.
    """

    def __init__(self, limit_bytes: int):
        self._limit = limit_bytes
        self._buffer = bytearray()
        self._file = 0
        self._in_file = False
        self._skip = 0
        self._extension = b""
        self._extension_size = 0
        self._overrides: dict[str, str] = {}
        self._files = 0
        self._total = 0
        self._ended = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yields what a further piece of the stream holds; exhaust it before the next piece.

        Raises:
            MaasError: INVALID_ARGUMENT for a broken archive or a member that is refused,
                TOO_LARGE for too many files or bytes, before they are written.
        """
        self._buffer += data
        while not self._ended:
            if self._in_file:
                if self._file:
                    if not self._buffer:
                        return
                    piece = self._take(min(self._file, len(self._buffer)))
                    self._file -= len(piece)
                    yield FileData(piece)
                if self._file == 0:
                    self._in_file = False
                    yield FileEnd()
            elif self._skip:
                if not self._buffer:
                    return
                self._skip -= len(self._take(min(self._skip, len(self._buffer))))
            elif self._extension:
                if len(self._buffer) < self._extension_size:
                    return
                self._read_extension(self._take(self._extension_size))
            else:
                if len(self._buffer) < BLOCK:
                    return
                start = self._read_header(self._take(BLOCK))
                if start is not None:
                    yield start
        # What follows the end mark is padding up to the writer's record size.
        self._buffer.clear()

    def finish(self) -> None:
        """Says that the stream is over.

        Raises:
            MaasError: INVALID_ARGUMENT, if the archive is not: it lacks its end mark, so
                something may be missing.
        """
        if not self._ended:
            raise invalid("the tar stream ends before its end mark; send the whole archive")

    def _take(self, size: int) -> bytes:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece

    def _read_header(self, header: bytes) -> FileStart | None:
        if not any(header):
            if self._overrides:
                raise invalid("the tar stream ends after a header that announces another file")
            self._ended = True
            return None
        if _checksum(header) != _number(header[148:156], "checksum"):
            raise invalid("this is not a tar stream, or it is damaged: a header's sum is wrong")
        kind = header[156:157]
        size = _number(header[124:136], "size")
        if kind in (b"x", b"g", b"L"):
            if size > MAX_EXTENSION_BYTES:
                raise invalid(
                    f"the tar stream has an extended header of {size} bytes; "
                    f"at most {MAX_EXTENSION_BYTES} are read"
                )
            self._extension, self._extension_size = kind, size
            return None
        return self._read_member(kind, size, _header_path(header))

    def _read_member(self, kind: bytes, size: int, path: str | None) -> FileStart | None:
        overrides, self._overrides = self._overrides, {}
        path = overrides.get("path", path)
        if path is None:
            raise invalid("a name in the tar stream is not UTF-8")
        if "size" in overrides:
            if not overrides["size"].isascii() or not overrides["size"].isdigit():
                raise invalid(f"the tar stream gives {path[:80]!r} a size that is no number")
            size = int(overrides["size"])
        folder = kind == b"5" or (kind == b"\0" and path.endswith("/"))
        if not folder and kind not in _REGULAR:
            what = _KINDS.get(kind, f"of the unknown type {kind!r}")
            raise invalid(f"{path[:80]!r} in the tar stream is {what}; send regular files only")
        parts = check_path(path, may_be_root=folder)
        if folder:
            if size:
                raise invalid(f"the folder {path[:80]!r} in the tar stream has contents")
            return None
        self._files += 1
        if self._files > MAX_FILES:
            raise MaasError(
                ErrorKind.TOO_LARGE, f"the tar stream holds more than {MAX_FILES} files"
            )
        self._total += size
        if self._total > self._limit:
            raise MaasError(
                ErrorKind.TOO_LARGE,
                f"the files in the tar stream are larger than the {self._limit} bytes that one "
                "upload may hold",
            )
        self._in_file, self._file, self._skip = True, size, -size % BLOCK
        return FileStart(parts, size)

    def _read_extension(self, data: bytes) -> None:
        kind, self._extension = self._extension, b""
        self._skip = -len(data) % BLOCK
        if kind == b"L":
            self._overrides["path"] = _text(data.rstrip(b"\0"))
            return
        records = _pax_records(data)
        if any(key.startswith("GNU.sparse.") for key in records):
            raise invalid("the tar stream holds a sparse file; send regular files only")
        if kind == b"x":
            self._overrides |= {key: records[key] for key in ("path", "size") if key in records}
        elif "path" in records or "size" in records:
            raise invalid("the tar stream names or sizes all its files in a global header")


def check_path(path: str, *, may_be_root: bool = False) -> tuple[str, ...]:
    """Splits a member's path and sees that it stays below the folder it is unpacked into.

    Args:
        path: as the archive has it; a leading `./` and a trailing `/` mean nothing.
        may_be_root: whether it may name that folder itself.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    shown = repr(path[:80])
    if path.startswith("/") or "\\" in path or any(ord(character) < 32 for character in path):
        raise invalid(f"the name {shown} in the tar stream is refused; use plain relative paths")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts:
        raise invalid(f"the name {shown} in the tar stream leads out of its folder; remove '..'")
    if not parts and not may_be_root:
        raise invalid("a file in the tar stream has no name")
    if (
        len(path.encode()) > MAX_PATH_BYTES
        or len(parts) > MAX_DEPTH
        or any(len(part.encode()) > MAX_PART_BYTES for part in parts)
    ):
        raise invalid(
            f"the name {shown} in the tar stream is too long; use at most {MAX_PATH_BYTES} bytes, "
            f"{MAX_PART_BYTES} between slashes and {MAX_DEPTH} folders"
        )
    return parts


def _header_path(header: bytes) -> str | None:
    """The name in a ustar or GNU header; None where it is not UTF-8 (pax may still name it)."""
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0", 1)[0]
        if prefix:
            name = prefix + b"/" + name
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _checksum(header: bytes) -> int:
    return sum(header[:148]) + 8 * ord(" ") + sum(header[156:])


def _number(field: bytes, what: str) -> int:
    """Reads octal digits, or GNU's base 256 where they do not suffice."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if any(digit not in b"01234567" for digit in digits):
        raise invalid(f"this is not a tar stream, or it is damaged: a {what} is no number")
    return int(digits or b"0", 8)


def _pax_records(data: bytes) -> dict[str, str]:
    """Reads records: length, space, key=value, newline. Only the values of interest are kept."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data):
        # Looked for and cut out where it is: what follows may be thousands of records.
        length_text, space, _ = data[at : at + 8].partition(b" ")
        if not space or not length_text.isdigit():
            raise invalid("the tar stream has a damaged extended header")
        length = int(length_text)
        record = data[at : at + length]
        at += length
        key, equals, value = record[len(length_text) + 1 : -1].partition(b"=")
        if len(record) != length or not equals or not record.endswith(b"\n"):
            raise invalid("the tar stream has a damaged extended header")
        name = key.decode("utf-8", "replace")
        records[name] = _text(value) if name in ("path", "size") else ""
    return records


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise invalid("a name in the tar stream is not UTF-8") from None
