"""Reading a request's JSON body.

Small bodies become Python objects through orjson (0.2 µs for a row of four numbers; simdjson with
a parser of its own takes 0.5). Large ones are parsed by simdjson and stay proxies, so that an
array of numbers goes into a buffer without ever being Python objects. Each body has its own
parser, which ends with it: nothing is shared between calls or threads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import simdjson

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.dialects.tensorjson.outline import Outline

LARGE_BYTES = 16 * 1024
"""Bodies above it are read through simdjson's proxies; about where those become the faster."""
MAX_DEPTH = 100
"""How deep lists and objects may be nested."""
MAX_VALUES = 1 << 23
"""Values of one body: simdjson holds 16 bytes and more for each, so that a body of `0,0,0,…` would
take fourteen times its own size."""
MAX_OBJECTS = 1 << 21
"""Values that may become Python objects: at 32 bytes each they take as much as the largest body.
Numbers in regular arrays never do, and are bounded by `MAX_VALUES` alone."""

_OBJECTS = (dict, simdjson.Object)
_ARRAYS = (list, simdjson.Array)


class Document:
    """A JSON object, read.

    Args:
        root: its members: a `dict`, or simdjson's `Object`, which reads alike when it is iterated
            over and indexed by names known to hold no NUL (its `items()` and `values()` turn
            everything within into Python objects). Of a key that stands twice, a `dict` has the
            last value and an `Object` the first.
        size: bytes of its text.
        outline: of its text, where it was large enough to be parsed by simdjson.
    """

    __slots__ = ("outline", "root", "size")

    def __init__(self, root: Mapping[str, Any], size: int, outline: Outline | None):
        self.root = root
        self.size = size
        self.outline = outline

    def outlines(self, key: str, count: int) -> Sequence[bytes | None]:
        """The outline of each value that stands under a key, in document order.

        Args:
            key: as it is written in the text.
            count: how many values under this key the caller has found by walking the document.

        Returns:
            `count` outlines; None for each where they cannot be told apart for certain.
        """
        if self.outline is not None:
            found = self.outline.after(key)
            if len(found) == count:
                return found
        return (None,) * count

    def python(self, value: Any) -> Any:
        """The value as Python objects.

        Raises:
            MaasError: TOO_LARGE beyond `MAX_OBJECTS`.
        """
        if isinstance(value, simdjson.Array):
            _check_objects(self.outline)
            return value.as_list()
        if isinstance(value, simdjson.Object):
            _check_objects(self.outline)
            return value.as_dict()
        return value


def is_object(value: Any) -> bool:
    """Whether a value of a document is a JSON object."""
    return isinstance(value, _OBJECTS)


def is_array(value: Any) -> bool:
    """Whether a value of a document is a JSON array."""
    return isinstance(value, _ARRAYS)


def is_base64(value: Any) -> bool:
    """Whether a value is TensorFlow Serving's form of bytes: `{"b64": …}`, the sole key."""
    return is_object(value) and len(value) == 1 and "b64" in value


def read(body: bytes) -> Document:
    """Reads a body that must be one JSON object.

    Raises:
        MaasError: INVALID_ARGUMENT where it is empty, not UTF-8, not JSON, not an object or
            nested deeper than `MAX_DEPTH`; TOO_LARGE.
    """
    root, outline = _parse(body)
    if not is_object(root):
        raise invalid(f"the body is {_kind(root)}; expected a JSON object")
    return Document(root, len(body), outline)


def read_value(body: bytes, key: str) -> Document:
    """Reads a body that may be any JSON value: an object as it is, another as its member `key`.

    Raises:
        MaasError: as `read`, an object not being required.
    """
    root, outline = _parse(body)
    if is_object(root):
        return Document(root, len(body), outline)
    if outline is not None:
        outline = Outline(b'{"%s":%s}' % (key.encode("utf-8"), body))
    return Document({key: root}, len(body), outline)


def _parse(body: bytes) -> tuple[Any, Outline | None]:
    if len(body) > LARGE_BYTES:
        outline = Outline(body)
        _check_depth(outline)
        if outline.may_hold_more_than(MAX_VALUES):
            raise _too_many(MAX_VALUES, "values")
        return _read_large(body, outline), outline
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(Outline(body))
    try:
        return orjson.loads(body), None
    except orjson.JSONDecodeError as error:
        return _read_refused(body, str(error), Outline(body)), None


def _check_depth(outline: Outline) -> None:
    if outline.deeper_than(MAX_DEPTH):
        raise invalid(f"the body nests lists and objects more than {MAX_DEPTH} deep")


def _check_objects(outline: Outline | None) -> None:
    if outline is not None and outline.may_hold_more_than(MAX_OBJECTS):
        raise _too_many(MAX_OBJECTS, "values that are not a regular array of finite numbers")


def _too_many(most: int, what: str) -> MaasError:
    return MaasError(
        ErrorKind.TOO_LARGE,
        f"the body holds more than {most} {what}; send fewer rows in one call",
    )


def _read_large(body: bytes, outline: Outline) -> Any:
    try:
        return simdjson.Parser().parse(body)
    except UnicodeDecodeError as error:
        return _read_refused(body, str(error), outline)
    except (ValueError, RuntimeError) as error:
        # simdjson's sentences follow a code in capitals; it has no positions to give.
        return _read_refused(body, str(error).partition(": ")[2], outline)


def _read_refused(body: bytes, reason: str, outline: Outline) -> Any:
    """Reads what the strict parsers refuse and the protocols allow, or says what is wrong.

    Allowed are NaN, Infinity, a byte order mark, and integers beyond 64 bits (JavaScript writes
    1e20 as digits).
    """
    if not body.strip():
        raise invalid("the body is empty; expected a JSON object")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid(f"the body is not UTF-8 at byte {error.start}; expected UTF-8 JSON") from None
    if not _may_hold_more(body, reason):
        raise invalid(f"the body is not valid JSON: {reason.rstrip('. ')}")
    _check_objects(outline)
    try:
        root = json.loads(text, parse_float=_finite)
        if b"\\u" in body:
            json.dumps(root, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise invalid(
            "the body is not valid JSON: an escape \\ud800 to \\udfff stands without its other half"
        ) from None
    except json.JSONDecodeError as error:
        raise invalid(f"the body is not valid JSON: {error}") from None
    except ValueError as error:  # from _finite, or an integer of more than 4,300 digits
        raise invalid(f"the body is not valid JSON: {str(error).partition(';')[0]}") from None
    return root


def _may_hold_more(body: bytes, reason: str) -> bool:
    return (
        b"NaN" in body
        or b"Infinity" in body
        or body.startswith(b"\xef\xbb\xbf")
        # simdjson's BIGINT_ERROR and, for some integers of twenty digits, NUMBER_ERROR
        or reason.startswith(("Big integer", "Problem while parsing a number"))
    )


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:40]} is beyond the largest 64-bit float")
    return value


def _kind(value: Any) -> str:
    if is_array(value):
        return "a list"
    if isinstance(value, str):
        return "a string"
    if value is None:
        return "null"
    return "true or false" if isinstance(value, bool) else "a number"
