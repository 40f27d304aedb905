"""Looks through a skops file before skops does.

A skops file is a flat zip: `schema.json`, NumPy arrays (`.npy`), sparse matrices (`.npz`, zips of
`.npy`) and byte strings (`.bin`). Everything is checked against that, and against what it would
take when it is unpacked.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.publish.pickles import HEAD, looks_like_pickle

MIB = 1 << 20
BEYOND = 256 * MIB
"""Bytes that unpacking may yield beyond the file's own size (`security.md`, archive bombs)."""
RATIO = 200
MOST_MEMBERS = 100_000
MOST_SCHEMA = 256 * MIB
DEEPEST = 250
_MEMBER = re.compile(r"[A-Za-z0-9_\-]{1,64}\.(npy|npz|bin)")


class SkopsScan(Struct, frozen=True):
    """What the file says about itself: `written_with` has `skops` and `scikit-learn`."""

    written_with: dict[str, str]


def scan_skops(path: Path) -> SkopsScan:
    """Checks a skops file.

    Raises:
        MaasError: INVALID_ARGUMENT or TOO_LARGE, one sentence.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_directory(archive, path.stat().st_size, "the skops file", _MEMBER)
            for member in archive.infolist():
                if member.filename != "schema.json":
                    _check_member(archive, member)
            schema = _read_schema(archive)
            return _walk(schema, {m.filename: m.file_size for m in archive.infolist()})
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise invalid("the skops file is cut off or damaged; save and publish it again") from error


def _check_directory(
    archive: zipfile.ZipFile, size: int, what: str, allowed: re.Pattern[str]
) -> None:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise _bomb(f"{what} has more than {MOST_MEMBERS} members")
    if len({member.filename for member in members}) != len(members):
        raise invalid(f"{what} holds two members of one name; save and publish it again")
    for member in members:
        name = member.filename
        if name != "schema.json" and not allowed.fullmatch(name):
            raise invalid(
                f"{what} holds a member {name[:60]!r}; expected schema.json and flat names that "
                "end in .npy, .npz or .bin"
            )
        mode = member.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise invalid(f"{what} holds a link or device {name[:60]!r}; expected regular files")
        if member.flag_bits & 1:
            raise invalid(f"{what} is encrypted; publish it without a password")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise invalid(f"{what} is compressed in a way that is not read here; use deflate")
        if member.file_size > MIB and member.file_size > RATIO * max(member.compress_size, 1):
            raise _bomb(f"{name[:60]!r} in {what} unpacks to more than {RATIO} times its size")
    if sum(member.file_size for member in members) > size + BEYOND:
        raise _bomb(f"{what} unpacks to more than 256 MiB beyond its own size")


def _bomb(what: str) -> MaasError:
    return MaasError(
        ErrorKind.TOO_LARGE, f"{what}; save it without compression and publish it again"
    )


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    name = member.filename
    with archive.open(member) as file:
        head = file.read(HEAD)
    if looks_like_pickle(head):
        raise invalid(
            f"the skops file holds {name!r}, which is a pickle, and a pickle can run any code "
            "when it is opened; save the model with skops.io.dump"
        )
    if name.endswith(".npy"):
        with archive.open(member) as file:
            _check_array(file, member.file_size, name)
    elif name.endswith(".npz"):
        with archive.open(member) as file:
            data = file.read()
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            _check_directory(inner, len(data), f"{name!r}", re.compile(r"[a-z_]{1,32}\.npy"))
            for part in inner.infolist():
                with inner.open(part) as file:
                    _check_array(file, part.file_size, f"{name}/{part.filename}")


def _check_array(file: Any, size: int, name: str) -> None:
    """An .npy file of a plain dtype whose data is exactly as long as its header says."""
    source: BinaryIO = file
    try:
        version = np.lib.format.read_magic(source)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(source)
    except (ValueError, KeyError, EOFError) as error:
        raise invalid(f"{name!r} in the skops file is not a NumPy array") from error
    if dtype.hasobject:
        raise invalid(
            f"{name!r} in the skops file holds Python objects, which only a pickle can carry; "
            "save the model with skops.io.dump"
        )
    count = 1
    for length in shape:
        if length < 0:
            raise invalid(f"{name!r} in the skops file has a negative size")
        count *= length
    if file.tell() + count * dtype.itemsize != size:
        raise invalid(f"{name!r} in the skops file is not as long as its header says")


def _read_schema(archive: zipfile.ZipFile) -> dict[str, Any]:
    if archive.getinfo("schema.json").file_size > MOST_SCHEMA:
        raise _bomb("schema.json in the skops file is larger than 256 MiB")
    try:
        schema = msgspec.json.decode(archive.read("schema.json"))
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid("schema.json in the skops file is not JSON; save it again") from error
    if not isinstance(schema, dict) or not {"__loader__", "protocol"} <= set(schema):
        raise invalid("schema.json in the skops file is not skops's; save it with skops.io.dump")
    return schema


def _too_deep() -> MaasError:
    return invalid(f"schema.json in the skops file is nested deeper than {DEEPEST} levels")


def _walk(schema: dict[str, Any], sizes: dict[str, int]) -> SkopsScan:
    """Bounds the depth, and what the members come to however often they are referred to."""
    written = {"skops": str(schema.get("_skops_version", "unknown"))[:40]}
    read = 0
    stack: list[tuple[Any, int]] = [(schema, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > DEEPEST:
            raise _too_deep()
        if isinstance(node, dict):
            name = node.get("file")
            if isinstance(name, str) and "__loader__" in node:
                if name not in sizes:
                    raise invalid("the skops file refers to a member that it does not hold")
                read += sizes[name]
            version = node.get("_sklearn_version")
            if isinstance(version, dict) and "scikit-learn" not in written:
                written["scikit-learn"] = str(version.get("content", "")).strip('"')[:40]
            stack.extend((child, depth + 1) for child in node.values() if _nested(child))
        else:
            stack.extend((child, depth + 1) for child in node if _nested(child))
    if read > sum(sizes.values()) + BEYOND:
        raise _bomb("the skops file refers to its members so often that they fill the memory")
    return SkopsScan(written)


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list)
