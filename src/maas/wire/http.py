"""HTTP as the data plane sees it: one request, one answer, over bare ASGI."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import ServableId

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
BINARY = (b"content-type", b"application/octet-stream")
TEXT = (b"content-type", b"text/plain; charset=utf-8")
MAX_REQUEST_ID = 128
PIECE = 1 << 20
COUNTED_FROM = 128 << 10
"""Bytes of a body from which on it is taken from the budget of all bodies."""
COMPRESSED_FROM = 1024
"""Shorter answers are not compressed: that would cost more than it saves."""
COMPRESSION = 1
UNPACKED_AT_ONCE = 4096
"""Compressed bodies below it are decompressed on the loop: a thousand times as much at most."""


class Answer:
    """What goes back.

    Args:
        body: the whole body.
        status: HTTP status.
        content_type: its header.
        servable: who answered, for `maas-model`.
        headers: further ones.
    """

    __slots__ = ("body", "content_type", "headers", "servable", "status")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        content_type: Header = JSON,
        servable: ServableId | None = None,
        headers: Sequence[Header] = (),
    ):
        self.body = body
        self.status = status
        self.content_type = content_type
        self.servable = servable
        self.headers = headers


def let_go(error: OSError) -> None:
    """Takes the traceback off an error by which a front says that the client has gone.

    pyvoy raises one and the same object for all of them: it would hold on to the frames of every
    request that met it, and so to their bodies and answers.
    """
    error.__traceback__ = error.__context__ = None


class BodyBudget:
    """Bytes of request bodies that an ingress may hold at a time. Small ones are not counted.

    Args:
        most: bytes.
    """

    __slots__ = ("left", "most")

    def __init__(self, most: int):
        self.most = most
        self.left = most

    def take(self, size: int) -> None:
        """Takes bytes.

        Raises:
            MaasError: RESOURCE_EXHAUSTED where there are not as many.
        """
        if size > self.left:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED,
                f"requests of {(self.most - self.left) >> 20} MiB are under way here; try again in "
                "a second (setting limits.bodies_bytes)",
                retry_after_s=1.0,
            )
        self.left -= size

    def give(self, size: int) -> None:
        """Gives bytes back."""
        self.left += size


def counted(body: bytes) -> int:
    """What a body takes of the budget."""
    size = len(body)
    return size if size >= COUNTED_FROM else 0


async def read_body(
    receive: Receive, headers: Sequence[Header], limit: int, budget: BodyBudget
) -> bytes:
    """Reads a request's body whole, as it was sent.

    Args:
        receive: ASGI's.
        headers: the request's, names in lower case.
        limit: bytes.
        budget: what it is taken from, as `counted` says; to be given back by who has read it.

    Raises:
        MaasError: TOO_LARGE, RESOURCE_EXHAUSTED, CANCELLED where the client went away.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value) > limit:
                raise too_large(limit)
        return await _read_parts(receive, body, limit, budget)
    if len(body) > limit:
        raise too_large(limit)
    if len(body) >= COUNTED_FROM:
        budget.take(len(body))
    return body


async def _read_parts(receive: Receive, first: bytes, limit: int, budget: BodyBudget) -> bytes:
    parts = [first]
    size = taken = len(first)
    budget.take(taken)
    more = True
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise MaasError(ErrorKind.CANCELLED, "the client went away during its request")
            part: bytes = message.get("body", b"")
            more = bool(message.get("more_body"))
            size += len(part)
            if size > limit:
                raise too_large(limit)
            budget.take(len(part))
            taken = size
            parts.append(part)
        body = b"".join(parts)
    except BaseException:
        budget.give(taken)
        raise
    budget.give(taken - counted(body))
    return body


def too_large(limit: int) -> MaasError:
    """The error for a body beyond its limit."""
    return MaasError(
        ErrorKind.TOO_LARGE,
        f"the request's body is larger than {limit / (1 << 20):g} MiB, the limit of this server "
        "(setting limits.body_bytes)",
    )


def decompress(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Undoes gzip or deflate, never making more than `limit` bytes.

    Raises:
        MaasError: UNSUPPORTED_MEDIA for another encoding, INVALID_ARGUMENT for a body that is not
            what its header says, TOO_LARGE.
    """
    encoding = encoding.strip().lower()
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        raise MaasError(
            ErrorKind.UNSUPPORTED_MEDIA,
            f"content-encoding {encoding.decode('latin-1')[:40]!r} is not read here; send gzip, "
            "deflate or none",
        )
    # 47: gzip or zlib, whichever the data says.
    engine = zlib.decompressobj(47)
    pieces: list[bytes] = []
    size = 0
    try:
        # In pieces, so that a bomb is never held twice: as it grows and as it is copied.
        piece = engine.decompress(body, PIECE)
        while piece:
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            pieces.append(piece)
            piece = engine.decompress(engine.unconsumed_tail, PIECE)
    except zlib.error:
        raise invalid(f"the body is not {encoding.decode('latin-1')} as its header says") from None
    if not engine.eof:
        raise invalid("the compressed body ends too early")
    if engine.unused_data:
        raise invalid(
            "something follows the compressed body; send one member, and nothing after it"
        )
    return b"".join(pieces)


def accepted_encoding(value: bytes) -> bytes:
    """The encoding to answer in, by an Accept-Encoding header: gzip, deflate or none.

    The one with the higher q-value; gzip where they are equal (RFC 9110, section 12.5.3).
    """
    best, best_q = b"", 0.0
    for part in value.lower().split(b","):
        name, _, parameters = part.partition(b";")
        quality = 1.0
        if parameters.strip().startswith(b"q="):
            try:
                quality = float(parameters.strip()[2:])
            except ValueError:
                quality = 0.0
        name = name.strip()
        if name in (b"gzip", b"deflate") and (
            quality > best_q or (quality == best_q > 0 and name == b"gzip")
        ):
            best, best_q = name, quality
    return best


def compress(answer: Answer, encoding: bytes) -> None:
    """Compresses an answer's body in place and says so in its headers."""
    engine = zlib.compressobj(COMPRESSION, zlib.DEFLATED, 31 if encoding == b"gzip" else 15)
    answer.body = engine.compress(answer.body) + engine.flush()
    answer.headers = (
        *answer.headers,
        (b"content-encoding", encoding),
        (b"vary", b"accept-encoding"),
    )


def clean_request_id(value: bytes) -> str | None:
    """A caller's request id, where it may go into headers and logs as it is."""
    if 0 < len(value) <= MAX_REQUEST_ID and value.isascii():
        text = value.decode("ascii")
        if text.isprintable():
            return text
    return None


async def send_answer(send: Send, answer: Answer, request_id: str, *, head: bool = False) -> None:
    """Sends head and body; with `head` the head alone, as of the whole answer."""
    body = answer.body
    headers = [
        answer.content_type,
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode("ascii")),
    ]
    if answer.servable is not None:
        headers.append((b"maas-model", model_header(answer.servable)))
    headers.extend(answer.headers)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})


@lru_cache(4096)
def model_header(servable: ServableId) -> bytes:
    """`iris:3`, percent-encoded where the name is not ASCII."""
    text = f"{servable.name}:{servable.version}"
    return text.encode("ascii") if text.isascii() else quote(text, safe=":").encode("ascii")
