"""Types, numbers, names and formats of JSON schemas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from maas.core.errors import MaasError, invalid

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
TYPE_OF_KEYWORD = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "maxItems": "array",
    "pattern": "string",
    "minLength": "string",
    "maxLength": "string",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
}
LARGEST = 2**53
"""Integers beyond are not read alike everywhere."""
SMALLEST, GREATEST = 1e-15, 1e15
"""Other numbers are written with all their digits, without an exponent."""
MOST_VALUES = 1000
"""Of all enumerations of a schema together; also integers of a range that are listed."""
MOST_NAME = 256

_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = f"[12][0-9]{{3}}-{_DAY}"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_ZONE = r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])"
FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}{_ZONE}$",
    "date-time": f"^{_DATE}T{_TIME}{_ZONE}$",
    "uuid": "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
}
"""Texts of these formats alone are written; other formats are taken as remarks."""


def impossible(at: str, why: str) -> MaasError:
    """The error for a schema that no value meets."""
    return invalid(f"{at} can be met by no value: {why}")


def types_of(schema: dict[str, Any], at: str) -> Sequence[str]:
    """The types that a schema allows; none where it allows all.

    Without `type` the keywords of one type stand for it, which is what their authors mean.
    """
    kinds = schema.get("type")
    if kinds is None:
        found = {TYPE_OF_KEYWORD[name] for name in schema if name in TYPE_OF_KEYWORD}
        if len(found) > 1:
            raise invalid(f"{at} has keywords of {' and '.join(sorted(found))}; give its type")
        return tuple(found)
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not kinds:
        raise impossible(at, "type is an empty list")
    for kind in kinds:
        if kind not in TYPES:
            raise invalid(f"{at}/type must be one of {', '.join(TYPES)}, or a list of them")
    return tuple(dict.fromkeys(kinds))


def is_of(value: object, kind: str) -> bool:
    """Whether a value is of a type."""
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, int | float):
        return kind == "number" or (kind == "integer" and value % 1 == 0)
    of: dict[str, type] = {"object": dict, "array": list, "string": str, "null": type(None)}
    return kind in of and isinstance(value, of[kind])


def same(left: object, right: object) -> bool:
    """Whether two values are equal as JSON: 1 is 1.0, and not true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def check_numbers(value: object, at: str) -> None:
    """Refuses numbers that engines write otherwise than they were given."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            check_numbers(one, at)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise invalid(f"{at} holds {value}; integers beyond ±2^53 are not written alike")
    elif isinstance(value, float) and value and not SMALLEST <= abs(value) <= GREATEST:
        raise invalid(f"{at} holds {value}, which is too large or too small to be written")


def check_name(name: str, at: str) -> None:
    """Refuses names of properties that engines cannot write."""
    if len(name) > MOST_NAME:
        raise invalid(f"{at} has a property's name of more than {MOST_NAME} characters")
    if any(char in '"\\' or char < " " for char in name):
        raise invalid(
            f"{at} has the property {name[:40]!r}; a name may hold no quotation marks, "
            "backslashes or control characters"
        )


def count_of(schema: dict[str, Any], name: str, at: str) -> int | None:
    """A count among a schema's keywords, from 0; None where there is none."""
    value = schema.get(name)
    if value is None:
        return None
    if not is_of(value, "integer") or value < 0:
        raise invalid(f"{at}/{name} must be an integer from 0")
    return int(value)


def integers(schema: dict[str, Any], at: str) -> tuple[dict[str, Any], bool]:
    """Writes the integers between a schema's bounds.

    xgrammar keeps a range whose bound next to zero is a power of ten, 0, 1, or their negatives; so
    others are listed up to there.

    Returns:
        A schema, and whether it keeps the bounds.

    Raises:
        MaasError: INVALID_ARGUMENT where there is no number between them.
    """
    low, high = _bounds(schema, at)
    if schema.get("type") == "number":
        return {"type": "number"}, low is None and high is None
    least = None if low is None else math.ceil(low)
    most = None if high is None else math.floor(high)
    if least is not None and most is not None and least > most:
        raise impossible(at, "there is no integer between its bounds")
    if (least is None or least < -LARGEST) and (most is None or most > LARGEST):
        return {"type": "integer"}, True
    if least is not None and most is not None and most - least < MOST_VALUES:
        inside = max(abs(least), abs(most)) <= LARGEST
        return ({"enum": list(range(least, most + 1))} if inside else {"type": "integer"}), inside
    parts = []
    if least is None or least < 0:
        mirrored = _from_zero(
            1 if most is None else max(1, -most), None if least is None else -least
        )
        if mirrored is None:
            return {"type": "integer"}, False
        parts += [_negative(part) for part in mirrored]
    if most is None or most >= 0:
        upper = _from_zero(0 if least is None else max(0, least), most)
        if upper is None:
            return {"type": "integer"}, False
        parts += upper
    return (parts[0] if len(parts) == 1 else {"anyOf": parts}), True


def _bounds(schema: dict[str, Any], at: str) -> tuple[float | None, float | None]:
    """The bounds that a schema sets, both within; for numbers an excluded one is not moved."""
    for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        value = schema.get(name)
        if value is not None and not (is_of(value, "number") and math.isfinite(value)):
            raise invalid(f"{at}/{name} must be a number")
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if schema.get("type") != "number":
        above = None if above is None else math.floor(above) + 1
        below = None if below is None else math.ceil(below) - 1
    low = above if low is None or (above is not None and above > low) else low
    high = below if high is None or (below is not None and below < high) else high
    if low is not None and high is not None and low > high:
        raise impossible(at, f"its least number {low} is above its greatest {high}")
    return low, high


def _from_zero(least: int, most: int | None) -> list[dict[str, Any]] | None:
    """Schemas for the integers from `least`, 0 or more; None where they would be too many."""
    if least > LARGEST:
        return None
    most = None if most is not None and most > LARGEST else most
    start = least if least < 2 else 10 ** len(str(least - 1))
    if most is not None and most < start:
        start = most + 1
    if start - least > MOST_VALUES:
        return None
    found: list[dict[str, Any]] = []
    if start > least:
        found.append({"enum": list(range(least, start))})
    if most is None:
        found.append({"type": "integer", "minimum": start})
    elif most >= start:
        found.append({"type": "integer", "minimum": start, "maximum": most})
    return found


def _negative(part: dict[str, Any]) -> dict[str, Any]:
    if "enum" in part:
        return {"enum": [-value for value in part["enum"]]}
    found = {"type": "integer"}
    if "maximum" in part:
        found["minimum"] = -part["maximum"]
    return {**found, "maximum": -part["minimum"]}
