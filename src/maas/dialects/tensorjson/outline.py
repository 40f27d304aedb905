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
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_CLOSING_BIT = 4  # set in ] and }, clear in [ and {


class Outline:
    """The outline of one JSON text.

    Only texts that a parser accepts have a meaningful one; any bytes may be given.

    Args:
        body: the JSON text, UTF-8.
    """

    __slots__ = ("_pieces", "_text", "values")

    def __init__(self, body: bytes):
        if b"\\" in body:
            # Within strings only, so that a quote afterwards always begins or ends one.
            body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
        self._text = body
        outline = body.translate(None, _NUMBERS)
        self._pieces = outline.split(b'"')
        self.values = 1 + outline.count(b",") + outline.count(b"[") + outline.count(b"{")
        """An upper bound of the number of values in the text."""

    def depth(self) -> int:
        """How deep lists and objects are nested; brackets inside strings do not count."""
        brackets = b"".join(self._pieces[::2]).translate(None, _NO_BRACKETS)
        if not brackets:
            return 0
        steps = 1 - ((np.frombuffer(brackets, np.uint8) & _CLOSING_BIT) >> 1).astype(np.int8)
        return int(steps.cumsum(dtype=np.int64).max())

    def after(self, key: str) -> list[bytes]:
        """The outlines of what follows each occurrence of a key, in document order.

        Each begins with the key's colon and ends at the next string. Empty where the text is
        mostly strings, and where the key is written with escapes.
        """
        pieces, text = self._pieces, self._text
        if len(pieces) > 2 * MAX_STRINGS:
            return []
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
