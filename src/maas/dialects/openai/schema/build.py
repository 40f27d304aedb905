"""JSON schemas of answers, vetted and written anew so that every engine keeps them.

```
schema ─▶ bounds ─▶ one kind of node at a time ─▶ references found ─▶ no endless ones ─▶ JSON
```

Engines differ in what they make of a schema: one refuses what it does not know in the middle of a
step, another writes any text as if there were no schema, and each gets some keywords wrong. What
leaves here is therefore written with few keywords, in the forms that both were seen to keep
(xgrammar in OpenVINO GenAI, llguidance in llama.cpp). It allows what the caller's schema allows or
less, except for assertions that no grammar can hold, such as `uniqueItems`. Those are left out, or
refused where the caller said `strict`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from maas.core.errors import invalid
from maas.dialects.openai.schema.bounds import MOST_DEPTH, check_bounds
from maas.dialects.openai.schema.merge import ANNOTATIONS, merged, resolved
from maas.dialects.openai.schema.pattern import Pattern, read_pattern
from maas.dialects.openai.schema.values import (
    FORMATS,
    MOST_VALUES,
    TYPES,
    check_name,
    check_numbers,
    count_of,
    impossible,
    integers,
    is_of,
    same,
    types_of,
)

MOST_NODES = 1000
"""Schemas, counted again where they are merged into others."""
MOST_PROPERTIES = 256
"""Of one object: engines need more than their square in steps."""
MOST_ITEMS = 1024
MOST_COST = 32.0
"""Places with a wide set of characters: each takes an engine up to 90 ms with a large vocabulary,
and all callers of the model wait for it."""
NOT_KEPT: dict[str, object] = {
    "not": None,
    "if": None,
    "dependentSchemas": {},
    "dependentRequired": {},
    "dependencies": {},
    "contains": None,
    "uniqueItems": False,
    "patternProperties": {},
    "propertyNames": True,
    "minProperties": 0,
    "maxProperties": None,
    "multipleOf": None,
}
"""Assertions that no grammar holds, and the value with which they assert nothing."""
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
Node = dict[str, Any]


def check_schema(schema: object, *, strict: bool = False) -> str:
    """Vets the schema of an answer.

    Args:
        schema: as it was read from JSON.
        strict: refuse assertions that cannot be kept instead of leaving them out.

    Returns:
        A JSON schema that every engine keeps.

    Raises:
        MaasError: INVALID_ARGUMENT: it is no schema, too large, met by no value or by endless ones
            alone, refers to another document, or asks for what cannot be kept.
    """
    check_bounds(schema, "the schema")
    builder = _Builder(schema, strict)
    root = builder.node(schema, "#", 0)
    found = builder.document(root)
    return msgspec.json.encode(found).decode()


class _Builder:
    """Writes one schema anew."""

    def __init__(self, document: object, strict: bool):
        self._document = document
        self._strict = strict
        self._nodes = 0
        self._values = 0
        self._cost = 0.0
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Node] = {}

    def document(self, root: Node) -> Node:
        """The whole, with what is referred to."""
        for at, name in self._names.items():
            self._refuse_loop(at, name)
        self._refuse_endless(root)
        if not root:
            # Alone, `{}` is an object to llguidance.
            root = {"anyOf": [{"type": kind} for kind in TYPES if kind != "integer"]}
        return {**root, "$defs": self._definitions} if self._definitions else root

    def node(self, schema: object, at: str, depth: int) -> Node:
        """Writes one schema; its place is for errors."""
        self._count(1)
        if depth > MOST_DEPTH:
            raise invalid(f"{at} is more than {MOST_DEPTH} schemas deep; make it flatter")
        if schema is True:
            return {}
        if schema is False:
            raise impossible(at, "it is false")
        if not isinstance(schema, dict):
            raise invalid(f"{at} must be an object or a boolean to be a JSON schema")
        schema, parts = merged(schema, self._document, at)
        self._count(parts - 1)
        if "$ref" in schema:
            return self._reference(schema["$ref"], at, depth)
        for name, nothing in NOT_KEPT.items():
            if name in schema and schema[name] != nothing:
                self._not_kept(name, at)
        if "const" in schema or "enum" in schema:
            return self._enumeration(schema, at)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                return self._alternatives(name, schema, at, depth)
        kinds = types_of(schema, at)
        if not kinds:
            return {}
        found = [self._typed(kind, schema, at, depth) for kind in kinds]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise invalid(f"the schema holds more than {MOST_NODES} schemas; make it simpler")

    def _not_kept(self, name: str, at: str, what: str = "") -> None:
        if self._strict:
            raise invalid(
                f"{at}: {name!r} cannot be kept while an answer is written{what}; leave it out, "
                "or send strict: false and check the answer"
            )

    def _reference(self, reference: object, at: str, depth: int) -> Node:
        target, pointer = resolved(reference, self._document, at)
        if pointer not in self._names:
            name = self._names[pointer] = f"d{len(self._names)}"
            self._definitions[name] = {}
            self._definitions[name] = self.node(target, pointer, depth + 1)
        return {"$ref": f"#/$defs/{self._names[pointer]}"}

    def _enumeration(self, schema: Node, at: str) -> Node:
        values = schema.get("enum", [schema.get("const")])
        if not isinstance(values, list):
            raise invalid(f"{at}/enum must be a list of values")
        if "const" in schema:
            values = [value for value in values if same(value, schema["const"])]
        kinds = types_of(schema, at) if "type" in schema else TYPES
        values = [value for value in values if any(is_of(value, kind) for kind in kinds)]
        if not values:
            raise impossible(at, "its enum, const and type leave no value")
        for value in values:
            check_numbers(value, at)
        self._list(len(values))
        return {"enum": values}

    def _list(self, count: int) -> None:
        self._values += count
        if self._values > MOST_VALUES:
            raise invalid(f"the schema enumerates more than {MOST_VALUES} values")

    def _alternatives(self, name: str, schema: Node, at: str, depth: int) -> Node:
        branches = schema[name]
        if not isinstance(branches, list) or not branches:
            raise invalid(f"{at}/{name} must be a list of schemas, at least one")
        rest = {
            key: value for key, value in schema.items() if key != name and key not in ANNOTATIONS
        }
        found = []
        for index, branch in enumerate(branches):
            if branch is False:
                continue
            whole = {"allOf": [rest, branch]} if rest else branch
            found.append(self.node(whole, f"{at}/{name}/{index}", depth + 1))
        if not found:
            raise impossible(at, f"its {name} is all false")
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _typed(self, kind: str, schema: Node, at: str, depth: int) -> Node:
        if kind == "object":
            return self._object(schema, at, depth)
        if kind == "array":
            return self._array(schema, at, depth)
        if kind == "string":
            return self._string(schema, at)
        if kind == "integer":
            found, kept = integers(schema, at)
            if not kept:
                name = next(name for name in BOUNDS if schema.get(name) is not None)
                self._not_kept(name, at, " for this range of integers")
            self._list(sum(len(one.get("enum", ())) for one in found.get("anyOf", (found,))))
            return found
        if kind == "number":
            integers({**schema, "type": "number"}, at)
            for name in BOUNDS:
                if schema.get(name) is not None:
                    self._not_kept(name, at, " for other numbers than integers")
        return {"type": kind}

    def _object(self, schema: Node, at: str, depth: int) -> Node:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        further = schema.get("additionalProperties", "properties" not in schema)
        if not isinstance(properties, dict):
            raise invalid(f"{at}/properties must be an object of schemas")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise invalid(f"{at}/required must be a list of names")
        missing = [name for name in required if name not in properties]
        if missing and schema.get("additionalProperties") is False:
            raise impossible(
                at, f"it requires {missing[0]!r}, which additionalProperties: false excludes"
            )
        properties = properties | dict.fromkeys(missing, {} if further is False else further)
        if len(properties) > MOST_PROPERTIES:
            raise invalid(f"{at} has {len(properties)} properties; at most {MOST_PROPERTIES}")
        found = {}
        for name, inner in properties.items():
            check_name(name, at)
            found[name] = self.node(inner, f"{at}/properties/{name}", depth + 1)
        if found:
            names = set(required)
            return {
                "type": "object",
                "properties": found,
                "required": [name for name in found if name in names],
                "additionalProperties": False,
            }
        if further is False:
            return {"type": "object", "additionalProperties": False}
        inner = self.node(further, f"{at}/additionalProperties", depth + 1)
        return {"type": "object", "additionalProperties": inner} if inner else {"type": "object"}

    def _array(self, schema: Node, at: str, depth: int) -> Node:
        least = count_of(schema, "minItems", at) or 0
        most = count_of(schema, "maxItems", at)
        items, first = schema.get("items", True), schema.get("prefixItems", [])
        if isinstance(items, list):  # as drafts before 2020 wrote it
            items, first = schema.get("additionalItems", True), items
        if not isinstance(first, list):
            raise invalid(f"{at}/prefixItems must be a list of schemas")
        if most is not None and least > most:
            raise impossible(at, f"minItems {least} is above maxItems {most}")
        if least > MOST_ITEMS:
            raise invalid(f"{at}: minItems {least} is above {MOST_ITEMS}, the most that is kept")
        found: Node = {"type": "array"}
        if first:
            found["prefixItems"] = [
                self.node(inner, f"{at}/prefixItems/{index}", depth + 1)
                for index, inner in enumerate(first)
            ]
            most = len(first) if items in (True, False) else most
        if items is False:
            most = min(len(first), MOST_ITEMS if most is None else most)
        if most is not None and least > most:
            raise impossible(at, f"it needs {least} items and allows {most}")
        if isinstance(items, dict):
            found["items"] = self.node(items, f"{at}/items", depth + 1)
        elif not isinstance(items, bool):
            raise invalid(f"{at}/items must be a schema")
        elif first:
            found["items"] = False
        elif least or most is not None:
            found["items"] = {}
        if least:
            found["minItems"] = least
        if most is not None:
            found["maxItems"] = min(most, MOST_ITEMS)
        return found

    def _string(self, schema: Node, at: str) -> Node:
        least = count_of(schema, "minLength", at) or 0
        most = count_of(schema, "maxLength", at)
        if most is not None and least > most:
            raise impossible(at, f"minLength {least} is above maxLength {most}")
        pattern, name = schema.get("pattern"), schema.get("format")
        if pattern is not None:
            if not isinstance(pattern, str):
                raise invalid(f"{at}/pattern must be a string")
            read = read_pattern(pattern, at)
            if (most is not None and read.least > most) or (
                read.most is not None and read.most < least
            ):
                raise impossible(at, "no text of its pattern has its length")
            if read.least < least or (most is not None and (read.most is None or read.most > most)):
                self._not_kept("minLength" if read.least < least else "maxLength", at)
            return self._patterned(read, at, "pattern")
        if isinstance(name, str) and name in FORMATS and not least and most is None:
            return self._patterned(read_pattern(FORMATS[name], at), at, "")
        if least == 0 and most is None:
            return {"type": "string"}
        if not self._affordable(least if most is None else most):
            self._not_kept(
                "minLength" if most is None else "maxLength", at, f" beyond {MOST_COST:g}"
            )
            return {"type": "string"}
        found: Node = {"type": "string"}
        if least:
            found["minLength"] = least
        if most is not None:
            found["maxLength"] = most
        return found

    def _patterned(self, pattern: Pattern, at: str, name: str) -> Node:
        if not self._affordable(pattern.cost):
            if name:
                self._not_kept(name, at, f": it counts beyond {MOST_COST:g} characters")
            return {"type": "string"}
        return {"type": "string", "pattern": pattern.anchored}

    def _affordable(self, cost: float) -> bool:
        if self._cost + cost > MOST_COST:
            return False
        self._cost += cost
        return True

    def _refuse_loop(self, at: str, name: str) -> None:
        """Refuses what refers to itself with nothing in between."""
        seen, waiting = set(), [self._definitions[name]]
        while waiting:
            node = waiting.pop()
            waiting += node.get("anyOf", ())
            if "$ref" in node:
                target = node["$ref"].removeprefix("#/$defs/")
                if target == name:
                    raise impossible(at, "it refers to itself with nothing in between")
                if target not in seen:
                    seen.add(target)
                    waiting.append(self._definitions[target])

    def _refuse_endless(self, root: Node) -> None:
        """Refuses what only endless values meet."""
        finite: set[str] = set()
        while True:
            more = {
                name
                for name, node in self._definitions.items()
                if name not in finite and _ends(node, finite)
            }
            if not more:
                break
            finite |= more
        for at, name in self._names.items():
            if name not in finite:
                raise impossible(at, "it needs a value of its own kind within itself, without end")


def _ends(node: Node, finite: set[str]) -> bool:
    """Whether some value of finite size meets it, where those definitions are met by one."""
    if "$ref" in node:
        return node["$ref"].removeprefix("#/$defs/") in finite
    if "anyOf" in node:
        return any(_ends(one, finite) for one in node["anyOf"])
    if "properties" in node:
        return all(_ends(node["properties"][name], finite) for name in node["required"])
    first = node.get("prefixItems", [])
    least = node.get("minItems", 0)
    if not all(_ends(one, finite) for one in first[:least]):
        return False
    return least <= len(first) or _ends(node.get("items") or {}, finite)
