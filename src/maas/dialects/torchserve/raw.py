"""Bytes without any form → one array."""

from __future__ import annotations

import math

import numpy as np

from maas.core.errors import invalid
from maas.core.signature import describe_spec
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.binary import read_blob

_PICTURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
)


def picture_kind(body: bytes) -> str:
    """The media type of a picture, by its first bytes; empty for what is none."""
    for start, kind in _PICTURES:
        if body.startswith(start):
            return kind
    return "image/webp" if body[:4] == b"RIFF" and body[8:12] == b"WEBP" else ""


def read_raw(body: bytes, spec: TensorSpec, what: str) -> tuple[np.ndarray, bool]:
    """Reads a whole body as an input's value.

    Of a BYTES input it is one element. Of another it is the little-endian elements of a tensor
    whose shape follows from their number: at most one size of the spec may be free.

    Returns:
        The array, and whether its batch axis was added: always for BYTES.

    Raises:
        MaasError: INVALID_ARGUMENT where the bytes are no tensor of that shape.
    """
    if spec.dtype is DType.BYTES:
        if any(size not in (None, 1) for size in spec.shape):
            raise invalid(f"{what} is one value; expected {describe_spec(spec)}, as JSON")
        array = np.empty([1] * len(spec.shape), object)
        array[...] = body
        return array, True
    free = [axis for axis, size in enumerate(spec.shape) if size is None]
    fixed = math.prod(size for size in spec.shape if size is not None)
    width = spec.dtype.numpy.itemsize * fixed
    if len(free) > 1:
        raise invalid(
            f"the shape of a raw body cannot be told for {describe_spec(spec)}, of which several "
            "sizes are free; send JSON or application/x-npy"
        )
    if not width or not body or len(body) % width or (not free and len(body) != width):
        many = "a multiple of " if free else ""
        raise invalid(
            f"{what} has {len(body)} bytes; expected {many}{width}, the raw little-endian elements "
            f"of {describe_spec(spec)}, or JSON with content-type application/json"
        )
    shape = tuple(len(body) // width if size is None else size for size in spec.shape)
    return read_blob(memoryview(body), spec, shape, what), False
