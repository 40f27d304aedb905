"""Reads the header of a GGUF and believes none of it. Nothing else of a GGUF is read here.

    magic, version, counts │ metadata │ tensor infos │ padding │ tensors

Layout from the ggml project's `docs/gguf.md`. Every count, length and offset is checked against a
limit and against the file before it is used, so that what a native parser opens afterwards is at
least laid out as it says.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_METADATA = 64 << 20
"""Bytes of all metadata."""
MOST_KEYS = 65_536
LONGEST_KEY = 256
MOST_ITEMS = 2_000_000
"""Of one list: a vocabulary's tokens are the longest."""
MOST_STRINGS = 5_000_000
"""Strings of all lists; tokens and merges, together."""
MOST_TENSORS = 100_000
LONGEST_NAME = 63
MOST_AXES = 4
LARGEST_ALIGNMENT = 1 << 20
_HEAD = 24
_LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8
STRING, ARRAY = 8, 9
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
Scalar = bool | int | float | str
Value = Scalar | Sequence[str] | np.ndarray
"""Of metadata; a list of numbers is an array of one axis."""


class TensorInfo(Struct, frozen=True):
    """One tensor.

    Args:
        name: unique.
        type: of its numbers, as GGML names it: `F16`, `Q4_0`, …
        shape: as GGUF gives it, the axis that lies together first.
        offset: from the beginning of the tensors, bytes.
        size: bytes.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size: int

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class Gguf(Struct, frozen=True):
    """A header whose sizes and offsets hold.

    Args:
        metadata: by key.
        tensors: by name, in the file's order.
        size: of the file, bytes.
    """

    metadata: Mapping[str, Value]
    tensors: Mapping[str, TensorInfo]
    size: int


def scan_gguf(path: Path) -> Gguf:
    """Reads and checks a header.

    Raises:
        MaasError: INVALID_ARGUMENT: the first thing that is wrong with it, one sentence.
    """
    size = path.stat().st_size
    if size < _HEAD:
        raise invalid(f"the GGUF is cut off: it has {size} bytes, and its header alone has {_HEAD}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data, size)
        tensor_count, key_count = _head(cursor)
        metadata = _metadata(cursor, key_count)
        alignment = _alignment(metadata)
        infos = _tensor_infos(cursor, tensor_count)
        begin = -(-cursor.at // alignment) * alignment
    return Gguf(metadata, _placed(infos, begin, alignment, size), size)


class _Cursor:
    """A place in the file. Reading past its end, or past the metadata's limit, is refused."""

    def __init__(self, data: mmap.mmap, size: int):
        self._data = data
        self._size = size
        self.at = 0
        self.strings = 0

    def skip(self, count: int, what: str) -> int:
        """Goes on; returns where it was.

        Raises:
            MaasError: INVALID_ARGUMENT past the end.
        """
        began = self.at
        if count > self._size - began:
            raise invalid(
                f"the GGUF is cut off or lies: {what} takes {count} bytes and "
                f"{self._size - began} are left; download it again"
            )
        self.at = began + count
        if self.at > MOST_METADATA:
            raise invalid(
                f"the GGUF's header ({what}) goes on past {MOST_METADATA >> 20} MiB, which no "
                "model needs"
            )
        return began

    def number(self, layout: str, what: str) -> bool | int | float:
        at = self.skip(struct.calcsize(layout), what)
        value: bool | int | float = struct.unpack_from(layout, self._data, at)[0]
        return value

    def count(self, layout: str, what: str) -> int:
        return int(self.number(layout, what))

    def text(self, what: str, longest: int = 1 << 64) -> str:
        length = self.count("<Q", f"the length of {what}")
        if length > longest:
            raise invalid(f"{what} has {length} bytes; expected at most {longest}")
        at = self.skip(length, what)
        try:
            return self._data[at : at + length].decode()
        except UnicodeDecodeError:
            raise invalid(f"{what} is not UTF-8") from None

    def numbers(self, layout: str, count: int, what: str) -> np.ndarray:
        at = self.skip(count * struct.calcsize(layout), what)
        return np.frombuffer(self._data, np.dtype(layout), count, at).copy()


def _head(cursor: _Cursor) -> tuple[int, int]:
    """How many tensors and keys there are.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if cursor.count("<I", "the magic") != int.from_bytes(MAGIC, "little"):
        raise invalid("the file does not begin with GGUF")
    version = cursor.count("<I", "the version")
    if version not in VERSIONS:
        if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
            raise invalid("the GGUF is big-endian; convert it again on a little-endian machine")
        raise invalid(f"the GGUF has version {version}; versions 2 and 3 are read here")
    tensors = cursor.count("<Q", "the number of tensors")
    if not 1 <= tensors <= MOST_TENSORS:
        raise invalid(f"the GGUF says it has {tensors} tensors; expected 1 to {MOST_TENSORS}")
    keys = cursor.count("<Q", "the number of keys")
    if not 1 <= keys <= MOST_KEYS:
        raise invalid(f"the GGUF says it has {keys} keys of metadata; expected 1 to {MOST_KEYS}")
    return tensors, keys


def _metadata(cursor: _Cursor, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(count):
        key = cursor.text("a metadata key", LONGEST_KEY)
        shown = _shown(key)
        if not key or key in metadata:
            raise invalid(f"the GGUF has the metadata key {shown} twice, or without a name")
        kind = cursor.count("<I", f"the type of {shown}")
        metadata[key] = _value(cursor, kind, shown)
    return metadata


def _value(cursor: _Cursor, kind: int, shown: str) -> Value:
    if kind == STRING:
        return cursor.text(f"the value of {shown}")
    if kind == ARRAY:
        return _list(cursor, shown)
    layout = _SCALARS.get(kind)
    if layout is None:
        raise invalid(f"metadata {shown} has type {kind}, which is none of GGUF's")
    if kind == 7:
        return _truth(cursor.count("<B", f"the value of {shown}"), shown)
    return cursor.number(layout, f"the value of {shown}")


def _truth(value: int, shown: str) -> bool:
    if value > 1:
        raise invalid(f"metadata {shown} is a truth value of {value}; expected 0 or 1")
    return bool(value)


def _list(cursor: _Cursor, shown: str) -> Sequence[str] | np.ndarray:
    kind = cursor.count("<I", f"the type of the items of {shown}")
    count = cursor.count("<Q", f"the number of items of {shown}")
    if count > MOST_ITEMS:
        raise invalid(f"metadata {shown} says it has {count} items; at most {MOST_ITEMS} are read")
    if kind == ARRAY:
        raise invalid(f"metadata {shown} is a list of lists, which no language model has")
    if kind == STRING:
        cursor.strings += count
        if cursor.strings > MOST_STRINGS:
            raise invalid(f"the GGUF's lists have more than {MOST_STRINGS} texts together")
        return [cursor.text(f"item {at} of {shown}") for at in range(count)]
    layout = _SCALARS.get(kind)
    if layout is None:
        raise invalid(f"the items of {shown} have type {kind}, which is none of GGUF's")
    return cursor.numbers("<B" if kind == 7 else layout, count, f"the list {shown}")


def _alignment(metadata: Mapping[str, Value]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if (
        isinstance(alignment, bool)
        or not isinstance(alignment, int)
        or not 8 <= alignment <= LARGEST_ALIGNMENT
        or alignment & (alignment - 1)
    ):
        raise invalid(
            f"the GGUF's alignment is {_shown(str(alignment))}; expected a power of two from 8 to "
            f"{LARGEST_ALIGNMENT}"
        )
    return alignment


def _tensor_infos(cursor: _Cursor, count: int) -> list[TensorInfo]:
    """Names, types, shapes and offsets; these are yet to be held against the file."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    kinds = {int(kind): (kind.name, GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    infos: list[TensorInfo] = []
    for number in range(count):
        name = cursor.text(f"the name of tensor {number}", LONGEST_NAME)
        shown = _shown(name)
        axes = cursor.count("<I", f"the number of axes of tensor {shown}")
        if not 1 <= axes <= MOST_AXES:
            raise invalid(f"tensor {shown} says it has {axes} axes; expected 1 to {MOST_AXES}")
        shape = tuple(cursor.count("<Q", f"the shape of tensor {shown}") for _ in range(axes))
        kind = cursor.count("<I", f"the type of tensor {shown}")
        offset = cursor.count("<Q", f"the offset of tensor {shown}")
        if kind not in kinds:
            raise invalid(f"tensor {shown} has type {kind}, which is not known here")
        type_, (block, block_bytes) = kinds[kind]
        numbers = math.prod(shape)
        if not 1 <= numbers < 1 << 48:
            raise invalid(f"tensor {shown} has the shape {list(shape)}, which is impossible")
        if shape[0] % block:
            raise invalid(
                f"tensor {shown} has rows of {shape[0]} numbers, which blocks of {block} "
                f"({type_}) do not make up"
            )
        infos.append(TensorInfo(name, type_, shape, offset, numbers // block * block_bytes))
    return infos


def _placed(
    infos: Sequence[TensorInfo], begin: int, alignment: int, size: int
) -> dict[str, TensorInfo]:
    """The tensors by name, where all lie within the file, aligned, and no two in one place.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    tensors: dict[str, TensorInfo] = {}
    for info in infos:
        shown = _shown(info.name)
        if info.name in tensors or not info.name:
            raise invalid(f"the GGUF has the tensor {shown} twice, or without a name")
        if info.offset % alignment:
            raise invalid(
                f"tensor {shown} lies at {info.offset}, which the alignment {alignment} does not "
                "divide"
            )
        if begin + info.offset + info.size > size:
            raise invalid(
                f"the GGUF is cut off or lies: tensor {shown} ends at byte "
                f"{begin + info.offset + info.size} and the file at {size}; download it again"
            )
        tensors[info.name] = info
    end, before = 0, ""
    for info in sorted(infos, key=lambda info: info.offset):
        if info.offset < end:
            raise invalid(f"the tensors {_shown(before)} and {_shown(info.name)} overlap")
        end, before = info.offset + info.size, info.name
    return tensors


def _shown(name: str) -> str:
    return repr("".join(c if c.isprintable() else "?" for c in name)[:80])


def text_of(metadata: Mapping[str, Value], key: str, default: str = "") -> str:
    """A text of the metadata; the default where there is none.

    Raises:
        MaasError: INVALID_ARGUMENT where it is something else.
    """
    value = metadata.get(key, default)
    if not isinstance(value, str):
        raise _wrong(key, "a text")
    return value


def number_of(
    metadata: Mapping[str, Value], key: str, low: int, high: int, default: int | None = None
) -> int:
    """A whole number of the metadata, within bounds.

    Raises:
        MaasError: INVALID_ARGUMENT where there is none and no default, or it is something else.
    """
    value = metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(key, "a whole number")
    if value != default and not low <= value <= high:
        raise invalid(f"the GGUF's {key} is {value}; expected {low} to {high}")
    return value


def flag_of(metadata: Mapping[str, Value], key: str, default: bool) -> bool:
    """A truth value of the metadata; the default where there is none.

    Raises:
        MaasError: INVALID_ARGUMENT where it is something else.
    """
    value = metadata.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(key, "true or false")
    return value


def _wrong(key: str, expected: str) -> MaasError:
    return invalid(f"the GGUF's metadata has no proper {key!r}; expected {expected}")
