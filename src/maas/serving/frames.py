"""Frames between an ingress and a host: one for every batch, over a Unix socket.

```
u32 header bytes · u32 tensor bytes · header (msgpack) · tensors, one after the other
```

Little-endian; every tensor starts at a multiple of 8 bytes. Numeric tensors are C-contiguous;
BYTES elements are u32 length + bytes, as in the Open Inference Protocol's binary form. A frame of
a batched signature holds the rows of many calls, concatenated; deadlines are absolute
CLOCK_MONOTONIC seconds, which both ends share. Large tensors lie in shared memory instead
(`maas.serving.segments`), laid out in the same way, and the header says where.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta, GenerateRequest
from maas.core.tensor import DType, Tensors

PREFIX = struct.Struct("<II")
ALIGN = 8
MAX_HEADER = 16 << 20
MAX_TENSORS = (1 << 32) - 1
"""Longer ones make the sender fail the calls; in shared memory there may be more."""
VIEWED_FROM = 64 << 10
"""Bytes from which an array is written from where it lies: for a small one a copy is cheaper."""
_U32 = struct.Struct("<I")


class TensorMeta(Struct, frozen=True, array_like=True):
    """One tensor's place in the frame."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    nbytes: int


class Place(Struct, frozen=True, array_like=True):
    """Where a frame's tensors lie that do not follow it: in a segment of the sender's.

    Args:
        segment: the sender's number for it; never used again.
        descriptor: the file descriptor by which the sender holds it.
        size: of the segment, bytes.
        used: bytes of tensors, from its start.
    """

    segment: int
    descriptor: int
    size: int
    used: int


class InferFrame(Struct, frozen=True, array_like=True, tag="infer"):
    """Calls for one signature of one version.

    Args:
        id: the sender's number for the frame; answers carry it.
        name: the model's name.
        version: the model's version.
        signature: the signature's name.
        rows: how many rows each call has, in order.
        deadlines: each call's deadline.
        tensors: the inputs.
        place: where they lie, if in shared memory; it is the sender's again with the reply.
        priority: of its most urgent call; see `CallContext`.
    """

    id: int
    name: str
    version: int
    signature: str
    rows: tuple[int, ...]
    deadlines: tuple[float, ...]
    tensors: tuple[TensorMeta, ...]
    place: Place | None = None
    priority: int = 0


class CallError(Struct, frozen=True, array_like=True):
    """One call of a frame that has no answer."""

    index: int
    kind: ErrorKind
    message: str
    retry_after_s: float | None = None

    def as_error(self) -> MaasError:
        """What it was before it travelled."""
        return MaasError(self.kind, self.message, retry_after_s=self.retry_after_s)


class ReplyFrame(Struct, frozen=True, array_like=True, tag="reply"):
    """The answer to an `InferFrame`: outputs of the calls that have one, in order, and errors.

    `loaded` is False where the host does not hold the version: the sender should look again.
    `place` is where the outputs lie, if in shared memory: theirs until a `ReleaseFrame`.
    """

    id: int
    loaded: bool
    errors: tuple[CallError, ...]
    tensors: tuple[TensorMeta, ...]
    place: Place | None = None


class GenerateFrame(Struct, frozen=True, array_like=True, tag="generate"):
    """One call of a language model; what it writes comes back in `DeltasFrame`s."""

    id: int
    name: str
    version: int
    request: GenerateRequest


class DeltasFrame(Struct, frozen=True, array_like=True, tag="deltas"):
    """What one step of a language model gave to calls of one ingress.

    Args:
        deltas: each with the id of its `GenerateFrame`.
        errors: calls that end here; the index is the frame's id.
        unloaded: frames whose version the host does not hold: the sender should look again.
    """

    deltas: tuple[tuple[int, Delta], ...]
    errors: tuple[CallError, ...] = ()
    unloaded: tuple[int, ...] = ()


class CancelFrame(Struct, frozen=True, array_like=True, tag="cancel"):
    """Nobody waits for that call of that frame any more; of a `GenerateFrame` the index is 0."""

    id: int
    index: int


class UnseenFrame(Struct, frozen=True, array_like=True, tag="unseen"):
    """The host cannot reach the shared memory of that frame: send it again, and without."""

    id: int


class ReleaseFrame(Struct, frozen=True, array_like=True, tag="release"):
    """Nobody reads the outputs in that segment of the host's any more.

    `seen` is False where the ingress cannot reach it: the host should send its tensors without.
    """

    segment: int
    seen: bool


class IdleFrame(Struct, frozen=True, array_like=True, tag="idle"):
    """Those segments of the sender's are gone.

    From an ingress it also asks the host to let go of its own that it has not used for a while.
    """

    segments: tuple[int, ...]


Header = (
    InferFrame
    | ReplyFrame
    | GenerateFrame
    | DeltasFrame
    | CancelFrame
    | UnseenFrame
    | ReleaseFrame
    | IdleFrame
)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header)


def pack_tensors(tensors: Tensors) -> tuple[tuple[TensorMeta, ...], list[bytes | memoryview]]:
    """Describes arrays and gives their bytes; those of a large array are its own, not copied.

    Raises:
        ValueError: for a dtype that frames cannot carry.
    """
    metas = []
    chunks: list[bytes | memoryview] = []
    for name, array in tensors.items():
        dtype = DType.of(array.dtype)
        if dtype is DType.BYTES:
            data: bytes | memoryview = pack_bytes(array)
        else:
            native = array if array.dtype.isnative else array.astype(dtype.numpy)
            data = native.tobytes() if native.nbytes < VIEWED_FROM else _bytes_of(native)
        metas.append(TensorMeta(name, dtype, array.shape, len(data)))
        chunks.append(data)
        if len(data) % ALIGN:
            chunks.append(bytes(-len(data) % ALIGN))
    return tuple(metas), chunks


def _bytes_of(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def encode_frame(header: Header, chunks: Sequence[bytes | memoryview] = ()) -> bytes:
    """Puts a frame together.

    Raises:
        ValueError: the tensors are longer than its prefix can say, or the header than a host reads.
    """
    head = _encoder.encode(header)
    if len(head) > MAX_HEADER:
        raise ValueError(f"{len(head)} bytes; at most {MAX_HEADER} are sent")
    size = sum(map(len, chunks))
    if size > MAX_TENSORS:
        raise ValueError(f"{size} bytes of tensors; a frame carries at most {MAX_TENSORS}")
    return b"".join((PREFIX.pack(len(head), size), head, *chunks))


def decode_header(data: bytes | memoryview) -> Header:
    """Reads a frame's header.

    Raises:
        ValueError: it is not one.
    """
    try:
        header: Header = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a frame's header: {error}") from None
    return header


def unpack_tensors(
    metas: Sequence[TensorMeta], data: bytes | bytearray | memoryview
) -> dict[str, np.ndarray]:
    """Gives arrays that share memory with the frame (BYTES ones excepted).

    Raises:
        ValueError: the sizes do not add up.
    """
    arrays = {}
    at = 0
    for meta in metas:
        if meta.nbytes < 0:
            raise ValueError(f"{meta.name!r} of {meta.nbytes} bytes")
        if meta.dtype is DType.BYTES:
            array = unpack_bytes(memoryview(data)[at : at + meta.nbytes]).reshape(meta.shape)
        else:
            dtype = meta.dtype.numpy
            if meta.nbytes != prod(meta.shape) * dtype.itemsize or min(meta.shape, default=0) < 0:
                raise ValueError(f"{meta.name!r} of shape {meta.shape} in {meta.nbytes} bytes")
            array = np.frombuffer(data, dtype, meta.nbytes // dtype.itemsize, at).reshape(
                meta.shape
            )
        arrays[meta.name] = array
        at += meta.nbytes + -meta.nbytes % ALIGN
    if at != len(data):
        raise ValueError(f"the frame has {len(data)} bytes of tensors, its header says {at}")
    return arrays


def pack_bytes(array: np.ndarray) -> bytes:
    """Writes an object array of `bytes` as u32 length + bytes for each element."""
    parts = []
    for element in array.ravel().tolist():
        parts.append(_U32.pack(len(element)))
        parts.append(element)
    return b"".join(parts)


def unpack_bytes(data: memoryview) -> np.ndarray:
    """Reads `pack_bytes` back: an object array [n].

    Raises:
        ValueError: a length reaches past the end.
    """
    elements = []
    at, end = 0, len(data)
    while at < end:
        if at + 4 > end:
            raise ValueError("a BYTES tensor ends within a length")
        (size,) = _U32.unpack_from(data, at)
        at += 4
        if at + size > end:
            raise ValueError("a BYTES tensor ends within an element")
        elements.append(bytes(data[at : at + size]))
        at += size
    array = np.empty(len(elements), object)
    array[:] = elements
    return array
