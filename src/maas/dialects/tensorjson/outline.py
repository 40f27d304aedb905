"""Where the lists and objects of a JSON text open and close, without its numbers.

simdjson flattens an array of numbers into one buffer and says nothing of its nesting, so that
`[[1, 2], [3], [4, 5, 6]]` looks like six numbers of any shape. The outline of that text,
`[[,],[],[,,]]`, is compared with the one its shape would have: exact, and a third of the cost of
parsing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_STRINGS = 4_096
"""Strings beyond which `after` does not look for a key: such a body is no array of numbers."""

_NUMBERS = b"0123456789+-.eE \t\r\n"
_NEITHER_BRACKET_NOR_QUOTE = bytes(sorted(set(range(256)) - set(b'[]{}"')))
_CHUNK = 1 << 18
_QUOTE = ord('"')
_STRUCTURE = np.zeros(256, np.int8)
_STRUCTURE[[ord("["), ord("{")]] = 1
_STRUCTURE[[ord("]"), ord("}")]] = -1
_STRUCTURE.flags.writeable = False


class Outline:
    """The outline of one JSON text.

    Only texts that a parser accepts have a meaningful one; any bytes may be given. Memory beside
    the outline itself is bounded, however hostile the text.

    Args:
        body: the JSON text, UTF-8.
    """

    __slots__ = ("_outline", "_text")

    def __init__(self, body: bytes):
        if b"\\" in body:
            # Within strings only, so that a quote afterwards always begins or ends one.
            body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
        self._text = body
        self._outline = body.translate(None, _NUMBERS)

    def may_hold_more_than(self, values: int) -> bool:
        """Whether the text may hold more values than that; False is certain."""
        outline = self._outline
        if len(outline) < values:
            return False
        return 1 + outline.count(b",") + outline.count(b"[") + outline.count(b"{") > values

    def deeper_than(self, depth: int) -> bool:
        """Whether lists and objects nest deeper; brackets inside strings do not count."""
        brackets = self._outline.translate(None, _NEITHER_BRACKET_NOR_QUOTE)
        if len(brackets) <= depth:
            return False
        reached, inside = 0, 0
        for start in range(0, len(brackets), _CHUNK):
            chunk = np.frombuffer(brackets[start : start + _CHUNK], np.uint8)
            # How many quotes came before, modulo 256: odd within a string.
            quotes = (chunk == _QUOTE).cumsum(dtype=np.uint8) + np.uint8(inside)
            steps = _STRUCTURE[chunk] * ((quotes & 1) == 0)
            depths = steps.cumsum(dtype=np.int32)
            if reached + int(depths.max()) > depth:
                return True
            reached += int(depths[-1])
            inside = int(quotes[-1]) & 1
        return False

    def after(self, key: str) -> list[bytes]:
        """The outlines of what follows each occurrence of a key, in document order.

        Each begins with the key's colon and ends at the next string. Empty where the text is
        mostly strings, and where the key is written with escapes.
        """
        if self._outline.count(b'"') > 2 * MAX_STRINGS:
            return []
        pieces, text = self._outline.split(b'"'), self._text
        name = key.encode("utf-8")
        found = []
        closing = -1
        for index in range(1, len(pieces) - 1, 2):
            opening = text.find(b'"', closing + 1)
            closing = text.find(b'"', opening + 1)
            if text[opening + 1 : closing] == name and pieces[index + 1].startswith(b":"):
                found.append(pieces[index + 1])
        return found


def fits(outline: bytes, shape: Sequence[int]) -> bool:
    """Whether what `Outline.after` found is one regular array.

    `[]` and `[1]` have the same outline, so this proves the shape only together with the number
    of numbers: a list too short by one then shows as one number too few.

    Args:
        outline: begins with the colon after a key.
        shape: of rank 1 or more; only its last size may be 0.
    """
    length = max(shape[-1] + 1, 2)
    for size in reversed(shape[:-1]):
        length = size * length + size + 1
    if length >= len(outline):  # also keeps a shape nobody sent from being written out below
        return False
    template = b"[" + b"," * (shape[-1] - 1) + b"]"
    for size in reversed(shape[:-1]):
        template = b"[" + (template + b",") * (size - 1) + template + b"]"
    return outline.startswith(template, 1)
