"""`$ref` and `allOf` of JSON schemas: what several schemas ask for, as one."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from maas.core.errors import invalid
from maas.dialects.openai.schema.values import MOST_VALUES, impossible, same, types_of

ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly"),
        *("writeOnly", "$comment", "$schema", "$id", "id", "$anchor", "$defs", "definitions"),
        *("discriminator", "contentEncoding", "contentMediaType", "contentSchema"),
    )
)
"""Keywords that ask for nothing."""
MOST_PARTS = 256
DYNAMIC = ("$dynamicRef", "$recursiveRef")
_LARGER = frozenset(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"))
_SMALLER = frozenset(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"))


def resolved(reference: object, document: object, at: str) -> tuple[object, str]:
    """What a reference points to.

    Args:
        reference: a pointer into the same document: `#`, `#/$defs/name`.
        document: the whole schema.
        at: where the reference stands.

    Returns:
        The schema, and its place.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if not isinstance(reference, str):
        raise invalid(f"{at}/$ref must be a string")
    if reference != "#" and not reference.startswith("#/"):
        raise invalid(f"{at} refers to {reference[:80]!r}; references begin with '#/', or are '#'")
    found, place = document, "#"
    for part in reference.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isascii() and key.isdigit() and len(key) < 6:
            if int(key) >= len(found):
                raise invalid(f"{at} refers to {reference[:80]!r}, which is not there")
            found = found[int(key)]
        else:
            raise invalid(f"{at} refers to {reference[:80]!r}, which is not there")
        place += f"/{key}"
    return found, place


def merged(schema: dict[str, Any], document: object, at: str) -> tuple[dict[str, Any], int]:
    """A schema without `allOf`, and without a `$ref` that stands beside assertions.

    Returns:
        It, and of how many it was made.

    Raises:
        MaasError: INVALID_ARGUMENT where its parts cannot be made one, or exclude each other.
    """
    for name in DYNAMIC:
        if name in schema:
            raise invalid(f"{at} has {name}, which is not read; refer with $ref")
    if "allOf" not in schema and "$ref" not in schema:
        return schema, 1
    parts: list[dict[str, Any]] = []
    waiting: list[tuple[object, tuple[str, ...]]] = [(schema, ())]
    count = 0
    while waiting:
        part, seen = waiting.pop()
        count += 1
        if count > MOST_PARTS:
            raise invalid(f"{at} is made of more than {MOST_PARTS} schemas; make it simpler")
        if part is True:
            continue
        if part is False:
            raise impossible(at, "one of allOf is false")
        if not isinstance(part, dict):
            raise invalid(f"{at}/allOf must be a list of schemas")
        asked = [name for name in part if name not in ANNOTATIONS]
        if asked == ["$ref"] and len(parts) == 0 and not waiting:
            return {"$ref": part["$ref"]}, count
        if "$ref" in part:
            target, place = resolved(part["$ref"], document, at)
            if place in seen:
                raise impossible(at, "it refers to itself with nothing in between")
            waiting.append((target, (*seen, place)))
        inner = part.get("allOf", [])
        if not isinstance(inner, list):
            raise invalid(f"{at}/allOf must be a list of schemas")
        waiting += [(one, seen) for one in reversed(inner)]
        rest = {name: part[name] for name in asked if name not in ("$ref", "allOf")}
        if rest:
            parts.append(rest)
    return _one(parts, at), count


def _one(parts: list[dict[str, Any]], at: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    properties = [_names(part) for part in parts]
    names = frozenset[str]().union(*properties)
    for part, own in zip(parts, properties, strict=True):
        if part.get("additionalProperties") is False and names - own:
            raise impossible(
                at, "one of allOf excludes additional properties, and others of them have some"
            )
    for part in parts:
        for name, value in part.items():
            found[name] = value if name not in found else _both(name, found[name], value, at)
    return found


def _names(part: dict[str, Any]) -> frozenset[str]:
    properties = part.get("properties")
    return frozenset(properties) if isinstance(properties, dict) else frozenset()


def _both(name: str, left: Any, right: Any, at: str) -> Any:
    """What two values of one keyword ask for together."""
    if type(left) is type(right) and left == right:
        return left
    numbers = all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in (left, right)
    )
    if numbers and name in _LARGER:
        return max(left, right)
    if numbers and name in _SMALLER:
        return min(left, right)
    if name == "type":
        return _types(left, right, at)
    if name == "required" and isinstance(left, list) and isinstance(right, list):
        return [*left, *right]
    if name == "properties" and isinstance(left, dict) and isinstance(right, dict):
        shared = {
            key: {"allOf": [left[key], value]} if key in left else value
            for key, value in right.items()
        }
        return {**left, **shared}
    if name == "enum" and isinstance(left, list) and isinstance(right, list):
        if max(len(left), len(right)) > MOST_VALUES:
            raise invalid(f"{at} enumerates more than {MOST_VALUES} values")
        return [one for one in left if any(same(one, other) for other in right)]
    if name == "additionalProperties" and isinstance(left, bool) and isinstance(right, bool):
        return left and right
    if name in ("items", "additionalProperties"):
        return {"allOf": [left, right]}
    raise invalid(f"{at} asks for {name!r} twice, in allOf or beside $ref; write it once")


def _types(left: Any, right: Any, at: str) -> list[str]:
    first, second = types_of({"type": left}, at), types_of({"type": right}, at)
    shared = [one for one in first if one in second]
    if "integer" in (*first, *second) and "number" in (*first, *second) and "integer" not in shared:
        shared.append("integer")
    if not shared:
        raise impossible(at, "its parts are of different types")
    return shared
