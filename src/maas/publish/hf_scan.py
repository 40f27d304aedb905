"""Reads the headers of safetensors files before anything else opens them, and believes none of it.

    length, 8 bytes │ JSON: name → dtype, shape, offsets │ tensors, without holes

Layout from the safetensors project's README. What passes here is laid out as it says: every tensor
within its file, none over another, each as long as its shape makes it.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from maas.core.errors import invalid
from maas.publish.detect_folder import inside

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MOST_HEADER = 32 << 20
MOST_INDEX = 16 << 20
MOST_TENSORS = 100_000
MOST_SHARDS = 1000
MOST_AXES = 8
LONGEST_NAME = 256
SIZES: Mapping[str, int] = MappingProxyType(
    {
        "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
        "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
    }
)  # fmt: skip
"""Bytes of one number."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-/]*")


class StoredTensor(Struct, frozen=True):
    """Where one tensor lies.

    Args:
        name: unique in the folder.
        dtype: as safetensors names it: `BF16`, …
        shape: of the array, row-major.
        file: that holds it.
        offset: from the file's beginning, bytes.
        size: bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    size: int

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Index(Struct, frozen=True):
    weight_map: dict[str, str]


def scan_weights(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a model's folder: `model.safetensors`, or the shards that its index names.

    Raises:
        MaasError: INVALID_ARGUMENT: the first thing that is wrong, one sentence.
    """
    if (folder / SINGLE).exists():
        return scan_safetensors(inside(folder, SINGLE, "the folder"))
    if not (folder / INDEX).exists():
        raise invalid(
            f"the folder holds safetensors under other names; expected {SINGLE}, or shards and "
            f"{INDEX}, as model.save_pretrained writes them"
        )
    wanted = _index(inside(folder, INDEX, "the folder"))
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(wanted.values())):
        if not shard.endswith(".safetensors"):
            raise invalid(f"{INDEX} names {_shown(shard)}, which is not safetensors")
        for name, tensor in scan_safetensors(inside(folder, shard, INDEX)).items():
            if wanted.get(name) != shard:
                raise invalid(
                    f"{INDEX} does not say that {_shown(name)} is in {_shown(shard)}, where it "
                    "is; save the model again"
                )
            tensors[name] = tensor
    missing = next((name for name in wanted if name not in tensors), None)
    if missing is not None:
        raise invalid(
            f"{INDEX} says that {_shown(missing)} is in {_shown(wanted[missing])}, where it is "
            "not; save the model again"
        )
    return tensors


def scan_safetensors(file: Path) -> dict[str, StoredTensor]:
    """Reads and checks the header of one file.

    Raises:
        MaasError: INVALID_ARGUMENT: the first thing that is wrong with it, one sentence.
    """
    shown = _shown(file.name)
    status = os.lstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise invalid(f"{shown} is a link or no regular file; publish the files themselves")
    with file.open("rb") as opened:
        first = opened.read(8)
        if first == b"version ":  # else it would be a header of exabytes
            raise invalid(
                f"{shown} is a Git LFS pointer; run 'git lfs pull' and publish the folder"
            )
        length = int.from_bytes(first, "little")
        begin = 8 + length
        if status.st_size < 8 or begin > status.st_size:
            raise invalid(
                f"{shown} is cut off: its header ends at byte {begin} and the file at "
                f"{status.st_size}; download it again"
            )
        if not 2 <= length <= MOST_HEADER:
            raise invalid(
                f"the header of {shown} says it has {length} bytes; expected at most {MOST_HEADER}"
            )
        header = opened.read(length)
    entries = _decode(header, dict[str, msgspec.Raw], f"the header of {shown}")
    entries.pop("__metadata__", None)
    if not 1 <= len(entries) <= MOST_TENSORS:
        raise invalid(f"{shown} holds {len(entries)} tensors; expected 1 to {MOST_TENSORS}")
    tensors = {
        name: _tensor(name, _decode(raw, _Entry, f"tensor {_shown(name)}"), file, begin)
        for name, raw in entries.items()
    }
    _check_places(tensors, begin, status.st_size, shown)
    return tensors


def _tensor(name: str, entry: _Entry, file: Path, begin: int) -> StoredTensor:
    shown = _shown(name)
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise invalid(
            f"{shown} is no tensor's name; expected letters, digits, '.', '_', '-' and '/', at "
            f"most {LONGEST_NAME}"
        )
    each = SIZES.get(entry.dtype)
    if each is None:
        raise invalid(f"tensor {shown} has the type {_shown(entry.dtype)}, which is not known here")
    if len(entry.shape) > MOST_AXES or not all(0 <= size < 1 << 40 for size in entry.shape):
        raise invalid(f"tensor {shown} has an impossible shape")
    first, last = entry.data_offsets
    size = math.prod(entry.shape) * each
    if first < 0 or last - first != size:
        raise invalid(
            f"tensor {shown} lies at bytes {first} to {last}; its shape {list(entry.shape)} of "
            f"{entry.dtype} takes {size}"
        )
    return StoredTensor(name, entry.dtype, entry.shape, file, begin + first, size)


def _check_places(tensors: Mapping[str, StoredTensor], begin: int, end: int, shown: str) -> None:
    """One after another, from the header's end to the file's, as the format wants it."""
    at = begin
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.size)):
        if tensor.offset + tensor.size > end:
            raise invalid(
                f"{shown} is cut off or lies: tensor {_shown(tensor.name)} ends at byte "
                f"{tensor.offset + tensor.size} and the file at {end}; download it again"
            )
        if tensor.offset != at:
            how = "overlaps another" if tensor.offset < at else "leaves a hole before it"
            raise invalid(f"tensor {_shown(tensor.name)} in {shown} {how}; save the model again")
        at += tensor.size
    if at != end:
        raise invalid(f"{shown} has {end - at} bytes that are no tensor's; save the model again")


def _index(file: Path) -> dict[str, str]:
    if file.stat().st_size > MOST_INDEX:
        raise invalid(f"{INDEX} is larger than {MOST_INDEX >> 20} MiB, which no model needs")
    wanted: dict[str, str] = _decode(file.read_bytes(), _Index, INDEX).weight_map
    if not 1 <= len(wanted) <= MOST_TENSORS or len(set(wanted.values())) > MOST_SHARDS:
        raise invalid(
            f"{INDEX} names {len(wanted)} tensors in {len(set(wanted.values()))} files; at most "
            f"{MOST_TENSORS} in {MOST_SHARDS} are read"
        )
    return wanted


def _decode(data: bytes | msgspec.Raw, type_: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = str(error) or "nested too deeply"
        raise invalid(f"{what} is not what safetensors writes: {said[:160]}") from None


def _shown(name: str) -> str:
    return repr("".join(c if c.isprintable() else "?" for c in name)[:80])
