"""The requests of a load test: what is called, in which protocol, with which values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import numpy as np
from msgspec import Struct

from maas.client import transport
from maas.client.address import Address
from maas.client.call import JSON
from maas.client.inference import ModelMetadata, encode_request, model_path
from maas.core.errors import invalid
from maas.core.identity import ModelRef
from maas.core.tensor import DType, TensorSpec

MOST_BODIES = 64
"""Different bodies that are sent in turn, so that no cache answers them."""
OPEN_SIZE = 8
"""Size of an open axis, other than the first, of drawn values."""
WORDS = ("good", "bad", "fine", "late", "never", "again", "好", "不错")


class Target(Struct, frozen=True):
    """What is called.

    Args:
        address: the server.
        ref: the model.
        known: what it takes.
        protocol: how it is called.
    """

    address: Address
    ref: ModelRef
    known: ModelMetadata
    protocol: Literal["plain", "oip", "tfserving"]

    @property
    def path(self) -> str:
        """The path, percent-encoded; a path of the server's URL comes before it."""
        start = urlsplit(self.address.url).path.rstrip("/")
        if self.protocol == "plain":
            return f"{start}/{quote(str(self.ref), safe=':@')}/predict"
        if self.protocol == "oip":
            return f"{start}{model_path(self.ref)}/infer"
        name = quote(self.ref.name, safe="")
        if self.ref.alias is not None:
            return f"{start}/v1/models/{name}/labels/{quote(self.ref.alias, safe='')}:predict"
        version = "" if self.ref.version is None else f"/versions/{self.ref.version}"
        return f"{start}/v1/models/{name}{version}:predict"


def make_bodies(
    target: Target, given: Mapping[str, np.ndarray] | None, rows: int, seed: int
) -> tuple[bytes, ...]:
    """Writes the bodies.

    Args:
        target: what is called.
        given: the caller's values by input, or None to draw some that fit the signature.
        rows: how many a request has, where the model takes rows.
        seed: of the drawn values.

    Raises:
        MaasError: INVALID_ARGUMENT for rows that the model does not take.
    """
    specs = target.known.inputs
    if rows != 1 and not all(takes_rows(spec) for spec in specs):
        raise invalid(f"{target.ref} does not take rows: its inputs have fixed sizes; use --rows 1")
    if given is None:
        random = np.random.default_rng(seed)
        drawn = ({spec.name: draw(spec, rows, random) for spec in specs} for _ in range(16))
        return tuple(_encode(target, arrays) for arrays in drawn)
    if not all(takes_rows(spec) for spec in specs):
        return (_encode(target, given),)
    count = min(len(array) for array in given.values())
    if not count:
        raise invalid("the file has no rows; expected one at least")
    pages = min(MOST_BODIES, -(-count // rows))
    picked = (np.arange(page * rows, (page + 1) * rows) % count for page in range(pages))
    return tuple(
        _encode(target, {name: array[index] for name, array in given.items()}) for index in picked
    )


def make_requests(target: Target, bodies: Sequence[bytes]) -> tuple[bytes, ...]:
    """Puts HTTP/1.1 headers before the bodies."""
    host = urlsplit(target.address.url).netloc.rpartition("@")[2]
    head = f"POST {target.path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    if target.address.key:
        head += f"Authorization: Bearer {target.address.key}\r\n"
    return tuple(
        f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body for body in bodies
    )


def probe(target: Target, body: bytes, timeout_s: float = 60) -> None:
    """Makes one call, so that what every call would meet is said before thousands are made.

    Raises:
        ApiError: the server's refusal.
        ServerUnreachable: no server answers.
    """
    import httpx

    parts = urlsplit(target.address.url)
    with httpx.Client(**transport.settings(target.address, timeout_s)) as http:
        try:
            response = http.post(
                f"{parts.scheme}://{parts.netloc}{target.path}",
                content=body,
                headers={"Content-Type": JSON},
            )
        except httpx.HTTPError as error:
            raise transport.explain(error, target.address.url, timeout_s) from None
    transport.check(response)


def takes_rows(spec: TensorSpec) -> bool:
    """Whether the first axis may have any size."""
    return bool(spec.shape) and spec.shape[0] is None


def draw(spec: TensorSpec, rows: int, random: np.random.Generator) -> np.ndarray:
    """Draws values of a spec's dtype and shape: floats around 0, small integers, short texts."""
    shape = [OPEN_SIZE if size is None else size for size in spec.shape]
    if takes_rows(spec):
        shape[0] = rows
    if spec.dtype is DType.BYTES:
        return random.choice(np.array(WORDS, dtype=object), shape)
    if spec.dtype is DType.BOOL:
        return random.integers(0, 2, shape).astype(bool)
    if spec.dtype.is_integer:
        return random.integers(0, 10, shape).astype(spec.dtype.numpy)
    return random.normal(size=shape).astype(spec.dtype.numpy)


def _encode(target: Target, arrays: Mapping[str, np.ndarray]) -> bytes:
    known = target.known
    if target.protocol == "oip":
        return encode_request(known, dict(arrays), None)
    values = {name: _plain(array) for name, array in arrays.items()}
    body: dict[str, Any]
    if target.protocol == "tfserving":
        body = {"inputs": values}
    else:
        body = values if len(known.inputs) > 1 else {"input_data": next(iter(values.values()))}
    return json.dumps(body, ensure_ascii=False).encode()


def _plain(array: np.ndarray) -> Any:
    """Lists whose floats have no more digits than their own precision needs."""
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        return array.astype(str).astype(float).tolist()
    return array.tolist()
