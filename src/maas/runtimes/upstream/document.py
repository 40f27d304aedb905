"""What is stored of an upstream: its URL, and what it says of its model."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.core.upstreams import UpstreamTarget, parse_upstream

MOST_BYTES = 1 << 20
"""Of the file: thousands of tensors take less."""


class Document(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The published file, `{"upstream": URL}`, with what was read of that server added.

    Args:
        upstream: the URL, as `parse_upstream` takes it.
        signatures: as the server describes them; nothing is proven of these.
        binary: whether it takes tensors as bytes over REST.
        rows: most rows that it takes in a call; 0 for any number.
        platform: what it says that it serves the model with.
    """

    upstream: str
    signatures: dict[str, Signature] = {}
    binary: bool = False
    rows: int = 0
    platform: str = ""

    @property
    def target(self) -> UpstreamTarget:
        """The URL's parts.

        Raises:
            MaasError: INVALID_ARGUMENT.
        """
        return parse_upstream(self.upstream)

    def encode(self) -> bytes:
        """As a file; the same for the same description."""
        return msgspec.json.encode(self, order="deterministic")


def read_document(path: Path) -> Document:
    """Reads a file.

    Raises:
        MaasError: INVALID_ARGUMENT for anything else than such a document.
    """
    if path.stat().st_size > MOST_BYTES:
        raise invalid(f"an upstream's file has at most {MOST_BYTES} bytes; it holds a URL")
    return decode_document(path.read_bytes())


def decode_document(data: bytes) -> Document:
    """Reads a document's bytes.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    try:
        return msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid(
            'an upstream\'s file is {"upstream": "PROTOCOL+TRANSPORT://HOST/MODEL"}, and nothing '
            "else is in it"
        ) from error


def bare(document: Document) -> Document:
    """The document with its URL alone, in its one form.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    return Document(document.target.url)


def spec_of(name: str, dtype: str, shape: list[int]) -> TensorSpec:
    """A tensor as another server describes it.

    Args:
        name: the tensor's.
        dtype: as OIP names it.
        shape: with -1 where any size goes.

    Raises:
        MaasError: INVALID_ARGUMENT for a type or shape that is not served here.
    """
    try:
        known = DType[dtype.removeprefix("TYPE_")]
    except KeyError:
        raise _odd(name, f"the type {dtype[:30]!r}, which is not known here") from None
    if len(shape) > 32 or any(size < -1 for size in shape):
        raise _odd(name, "an impossible shape")
    return TensorSpec(name, known, tuple(None if size == -1 else size for size in shape))


def _odd(name: str, what: str) -> MaasError:
    return invalid(f"the upstream says that its tensor {name[:60]!r} has {what}")
