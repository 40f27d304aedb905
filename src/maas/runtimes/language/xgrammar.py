"""What xgrammar, in OpenVINO GenAI, needs told otherwise than JSON schemas tell it."""

from __future__ import annotations

import json
from typing import Any

_CHARACTER = r'([^"\\\x00-\x1f]|\\["\\/bfnrt])'
"""A character of a JSON string, as xgrammar writes what matches a pattern: as it is."""


def for_xgrammar(schema: str) -> str:
    """Writes a schema so that xgrammar keeps it, and that what it lets through is always JSON.

    A string of bounded length may hold raw control characters for xgrammar, which JSON does not
    allow; as a pattern its length is kept, and its characters are those of JSON. Alternatives that
    begin and end alike are mixed up into others, `"ab"` and `"cd"` into `"ad"`, unless each stands
    in a definition of its own, so every value of an enumeration gets one.

    Args:
        schema: JSON of a schema, vetted: it has no keywords but those that every engine keeps, its
            strings have a pattern or lengths, never both, and all its references are to `$defs`.
    """
    root = json.loads(schema)
    values: dict[str, str] = {}
    definitions = {name: _node(one, values) for name, one in root.pop("$defs", {}).items()}
    found = _node(root, values)
    definitions |= {name: {"enum": [json.loads(text)]} for text, name in values.items()}
    if definitions:
        found["$defs"] = definitions
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _node(node: Any, values: dict[str, str]) -> Any:
    if not isinstance(node, dict):
        return node
    if len(node.get("enum", ())) > 1:
        texts = dict.fromkeys(json.dumps(value, ensure_ascii=False) for value in node["enum"])
        names = [values.setdefault(text, f"value{len(values)}") for text in texts]
        return {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}
    if node.get("type") == "string" and ("minLength" in node or "maxLength" in node):
        times = f"{{{node.get('minLength', 0)},{node.get('maxLength', '')}}}"
        return {"type": "string", "pattern": f"^{_CHARACTER}{times}$"}
    found = dict(node)
    for name in ("items", "additionalProperties"):
        if name in found:
            found[name] = _node(found[name], values)
    for name in ("anyOf", "prefixItems"):
        if name in found:
            found[name] = [_node(one, values) for one in found[name]]
    if "properties" in found:
        found["properties"] = {
            name: _node(one, values) for name, one in found["properties"].items()
        }
    return found
