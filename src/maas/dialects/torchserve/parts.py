"""multipart/form-data → its parts (RFC 7578)."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from maas.core.errors import invalid
from maas.dialects.media import Media, parse_media

MAX_PARTS = 64
"""Most parts; a model has few inputs."""
MAX_BOUNDARY = 200


class Part(Struct, frozen=True):
    """One part: its content type, if it has one, and its bytes."""

    media: Media
    content: bytes


def read_parts(body: bytes, boundary: str) -> Mapping[str, Part]:
    """Takes a body apart.

    Args:
        body: bounded by its reader.
        boundary: of the content type.

    Returns:
        The parts by name, in their order.

    Raises:
        MaasError: INVALID_ARGUMENT for a malformed or incomplete body, more than `MAX_PARTS`
            parts, a name that stands twice, or none.
    """
    if not 0 < len(boundary) <= MAX_BOUNDARY or not boundary.isascii():
        raise invalid("the content type multipart/form-data needs its boundary")
    parts: dict[str, Part] = {}
    name, media, pieces = "", Media("", {}), list[bytes]()
    try:
        with PushMultipartParser(
            boundary, max_segment_count=MAX_PARTS, content_length=len(body), strict=True
        ) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    name, pieces = event.name, []
                    media = parse_media((event.header("content-type") or "").encode("utf-8"))
                elif event is not None:
                    pieces.append(bytes(event))
                else:
                    if name in parts:
                        raise invalid(f"the part {name[:80]!r} stands twice")
                    parts[name] = Part(media, b"".join(pieces))
    except MultipartError as error:
        raise invalid(f"the body is not multipart/form-data: {str(error)[:120]}") from None
    if not parts:
        raise invalid("the multipart body has no parts; send each input as a part of its name")
    return parts
