"""How large a JSON value of a request may be before anything looks into it."""

from __future__ import annotations

import msgspec

from maas.core.errors import invalid

MOST_BYTES = 64 * 1024
MOST_DEPTH = 32
"""Schemas within schemas; each takes up to four levels of JSON."""


def check_bounds(value: object, what: str, most: int = MOST_BYTES) -> bytes:
    """Checks that a JSON value is of bounded size and depth, and has texts of Unicode alone.

    Args:
        value: as it was read from JSON.
        what: it is, for errors.
        most: bytes of its JSON.

    Returns:
        It as JSON.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > 4 * MOST_DEPTH:
            raise invalid(f"{what} is nested more than {4 * MOST_DEPTH} deep")
        inner: list[object] = []
        for one in level:
            inner += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        level = inner
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError):
        raise invalid(f"{what} holds what JSON and Unicode cannot express") from None
    if len(text) > most:
        raise invalid(f"{what} is {len(text)} bytes of JSON; at most {most} are taken")
    return text
