"""Tells a pickle by its opcodes, without running it; also one that joblib has compressed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import re
import zlib
from pathlib import Path
from typing import IO, cast

from maas.core.errors import ErrorKind, MaasError

HEAD = 1 << 16
MOST_LZMA = 128 << 20
"""Memory that an LZMA stream may ask for its dictionary."""
_DOTTED = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
_CALLS = {"GLOBAL", "INST"}


def looks_like_pickle(head: bytes) -> bool:
    """Whether bytes begin a pickle of any protocol.

    Protocol 2 and later begin with 0x80 and their number. Protocols 0 and 1 have no mark: they
    count when they name a global, or when they reach STOP as a sequence of opcodes.

    Args:
        head: the first bytes of a file (`HEAD` of them are enough).
    """
    marked = len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5
    seen, calls = 0, False
    operations = pickletools.genops(head)
    while True:
        try:
            opcode, argument, position = next(operations)
        except StopIteration:
            return seen > 2
        except Exception:  # noqa: BLE001  (genops raises whatever its argument readers do)
            return marked and seen > 1
        seen += 1
        # An opcode that can be read after a global's name tells it from two lines of prose.
        if calls or (marked and seen > 2):
            return True
        calls = opcode.name in _CALLS and bool(_DOTTED.fullmatch(str(argument)))
        if opcode.name == "STOP":
            # "2." and "N." are numbers and words as well; real ones hold something and end there.
            return seen > 2 and (marked or (position or 0) + 1 == len(head.rstrip()))


def unpacked_head(head: bytes) -> tuple[str, bytes | None] | None:
    """What compressed bytes begin with, unpacked.

    Args:
        head: the first bytes of a file.

    Returns:
        How they are compressed, and at most `HEAD` bytes of what is inside (None where that
        cannot be seen here); None for bytes that are not compressed as joblib does.
    """
    for mark, how in _PACKED.items():
        if head.startswith(mark):
            return how, _unpack(how, head)
    return None


_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"]\x00\x00": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
    b"x\x01": "zlib",
    b"x^": "zlib",
    b"x\x9c": "zlib",
    b"x\xda": "zlib",
}
"""Source: `joblib.compressor`, each compressor's prefix."""


def _unpack(how: str, head: bytes) -> bytes | None:
    try:
        if how in ("gzip", "zlib"):
            # 47: either header, as it says.
            return zlib.decompressobj(47).decompress(head, HEAD)
        if how == "bzip2":
            return bz2.BZ2Decompressor().decompress(head, HEAD)
        if how in ("xz", "lzma"):
            return lzma.LZMADecompressor(memlimit=MOST_LZMA).decompress(head, HEAD)
    except (zlib.error, OSError, lzma.LZMAError, EOFError):
        return b""  # damaged: whatever it is, it is no pickle
    return None  # lz4, which the standard library does not read


def open_unpacked(path: Path) -> IO[bytes]:
    """Opens a file for reading what joblib has compressed in it, or the file as it is.

    Raises:
        MaasError: FAILED_PRECONDITION for lz4 without the package that reads it.
    """
    with path.open("rb") as file:
        head = file.read(8)
    how = next((how for mark, how in _PACKED.items() if head.startswith(mark)), "")
    if how == "gzip":
        return cast("IO[bytes]", gzip.open(path))
    if how == "zlib":
        return io.BytesIO(zlib.decompress(path.read_bytes()))
    if how == "bzip2":
        return bz2.open(path)
    if how in ("xz", "lzma"):
        return lzma.open(path)
    if how == "lz4":
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            "the file is compressed with lz4, which is not read here; save it with "
            "joblib.dump(model, file, compress=('zlib', 3))",
        )
    return path.open("rb")
