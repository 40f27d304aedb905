"""A ModelInferRequest's bytes → its head and its raw tensors, none of which is copied.

A protobuf parser copies every tensor into its arena and again into a Python object. Here the top
level of the message is walked (encoding: protobuf.dev/programming-guides/encoding), the raw
tensors are cut out as views, and only what is left is parsed.
"""

from __future__ import annotations

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid

RAW_INPUTS = 7
"""Field number of `raw_input_contents`."""
_LENGTHS = {1: 8, 5: 4}
"""Bytes of the fixed wire types."""
MOST_PARSED = 16 << 20
"""Bytes of a request beside its raw tensors: parsed, they take twenty times as much memory."""
MOST_FIELDS = 65_536
"""Top-level fields of a request: tensors, outputs, parameters."""


class Pieces(Struct, gc=False):
    """A request, cut.

    Args:
        head: everything but the raw tensors.
        raws: the raw tensors, in order, as views.
        tail: bytes before the only raw tensor where it ends the message, else 0.
    """

    head: bytes
    raws: list[memoryview]
    tail: int


def split(data: bytes | memoryview) -> Pieces:
    """Cuts a serialised request.

    Raises:
        MaasError: INVALID_ARGUMENT where it is no protobuf message; TOO_LARGE beyond
            `MOST_PARSED`.
    """
    view = memoryview(data)
    end = len(view)
    heads: list[memoryview] = []
    raws: list[memoryview] = []
    at = begun = 0
    for _ in range(MOST_FIELDS):
        if at >= end:
            break
        start = at
        key, at = _varint(view, at, end)
        wire = key & 7
        if wire == 0:
            _, at = _varint(view, at, end)
            continue
        if wire == 2:
            size, at = _varint(view, at, end)
        elif wire in _LENGTHS:
            size = _LENGTHS[wire]
        else:
            raise _corrupt()
        if size > end - at:
            raise _corrupt()
        if key >> 3 == RAW_INPUTS and wire == 2:
            if start > begun:
                heads.append(view[begun:start])
            raws.append(view[at : at + size])
            begun = at + size
        at += size
    else:
        raise invalid(f"the request has more than {MOST_FIELDS} fields")
    tail = end - len(raws[0]) if len(raws) == 1 and begun == end else 0
    if begun < end:
        heads.append(view[begun:end])
    size = sum(map(len, heads))
    if size > MOST_PARSED:
        raise MaasError(
            ErrorKind.TOO_LARGE,
            f"the request has {size} bytes beside its raw tensors, more than "
            f"{MOST_PARSED >> 20} MiB; send large tensors in raw_input_contents",
        )
    return Pieces(b"".join(heads), raws, tail)


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _corrupt()


def _corrupt() -> MaasError:
    return invalid("the bytes are no inference.ModelInferRequest message")
