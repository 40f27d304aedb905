"""What a token takes in llama.cpp's KV cache, from a GGUF's first keys.

GGUF: magic, version, counts of tensors and keys, then keys with values. The tokenizer's keys, which
are most of the bytes, come after the architecture's in what converters write; reading ends there.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from maas.core.errors import ErrorKind, MaasError

_SIMPLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SIMPLE[12] = "d"
_STRING, _ARRAY = 8, 9
_LONGEST = 64 << 20
_NEEDED = ("block_count", "embedding_length")
_HEADS = "attention.head_count"


def cell_bytes(file: Path) -> int:
    """Bytes of one token in a KV cache of 16-bit floats: keys and values of every layer.

    There are none where the architecture has no attention.

    Raises:
        MaasError: FAILED_PRECONDITION where the file is no GGUF or does not say.
    """
    try:
        with file.open("rb") as stream:
            keys = _keys(stream)
    except (OSError, struct.error, UnicodeError) as error:
        raise _cannot("the GGUF ends within its metadata; publish it again") from error
    layers, width = (_number(keys, name) for name in _NEEDED)
    if not keys.get(_HEADS):  # a state instead of attention: nothing for each token
        return 0
    heads = _number(keys, _HEADS)
    of_key = keys.get("attention.key_length", width // heads)
    of_value = keys.get("attention.value_length", width // heads)
    shared = keys.get("attention.head_count_kv", heads)
    if not isinstance(shared, list):
        shared = [shared] * layers
    return 2 * (int(of_key) + int(of_value)) * sum(map(int, shared))


def _number(keys: dict[str, Any], name: str) -> int:
    found = keys.get(name)
    if isinstance(found, list):  # one for each layer
        found = max(found, default=0)
    if not isinstance(found, int) or found < 1:
        raise _cannot(f"the GGUF does not say its {name}; expected a whole number above zero")
    return found


def _keys(stream: BinaryIO) -> dict[str, Any]:
    """The architecture's keys without its name before them."""
    magic, version, _, count = struct.unpack("<4sIQQ", stream.read(24))
    if magic != b"GGUF" or version not in (2, 3):
        raise _cannot("the file is no GGUF of version 2 or 3")
    found: dict[str, Any] = {}
    for _ in range(min(count, 1 << 20)):
        name = _text(stream)
        known = {key.partition(".")[2] for key in found}
        if name.startswith("tokenizer.") and known.issuperset((*_NEEDED, _HEADS)):
            break
        (kind,) = struct.unpack("<I", stream.read(4))
        found[name] = _value(stream, kind)
    prefix = f"{found.get('general.architecture', '')}."
    return {
        name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)
    }


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(stream)
    if kind == _ARRAY:
        inner, count = struct.unpack("<IQ", stream.read(12))
        if inner in _SIMPLE:
            code = f"<{_bounded(count)}{_SIMPLE[inner]}"
            return list(struct.unpack(code, stream.read(struct.calcsize(code))))
        return [_value(stream, inner) for _ in range(_bounded(count))]
    if kind not in _SIMPLE:
        raise _cannot(f"the GGUF has a value of the unknown type {kind}")
    return struct.unpack(f"<{_SIMPLE[kind]}", stream.read(struct.calcsize(_SIMPLE[kind])))[0]


def _text(stream: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", stream.read(8))
    raw = stream.read(_bounded(size))
    if len(raw) < size:
        raise struct.error
    return raw.decode(errors="replace")


def _bounded(count: int) -> int:
    if count > _LONGEST:
        raise _cannot("the GGUF has a value longer than 64 MiB")
    return count


def _cannot(reason: str) -> MaasError:
    return MaasError(ErrorKind.FAILED_PRECONDITION, reason)
