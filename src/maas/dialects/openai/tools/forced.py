"""Calls that the request demands: the answer is held to JSON, and read as such."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from maas.dialects.openai.tools.events import CallArguments, CallStart, Event, joined
from maas.dialects.openai.tools.markup import MOST_CALLS, MarkupParser
from maas.dialects.openai.tools.scan import BLANK


class NamedParser:
    """Reads an answer that is one function's arguments.

    Args:
        name: of the function.
    """

    def __init__(self, name: str):
        self._name: str | None = name

    def feed(self, text: str) -> Sequence[Event]:
        """Takes the next piece, and gives what is certain by now."""
        found: list[Event] = []
        if self._name is not None:
            text = text.lstrip(BLANK)
            if not text:
                return found
            found.append(CallStart(0, self._name))
            self._name = None
        found.append(CallArguments(0, text))
        return joined(found)

    def end(self) -> Sequence[Event]:
        """Gives the rest: there is none."""
        return []


class ListParser(MarkupParser):
    """Reads an answer that is `{"name": …, "arguments": {…}}`, or a list of such."""

    def __init__(self) -> None:
        super().__init__()
        self._state = self._first

    def _first(self) -> bool:
        rest = self._rest()
        if rest == "":
            return False
        if rest is None:
            self._state = self._text
            return True
        blanks = self._held[: len(self._held) - len(rest)]
        listed = rest[0] == "["
        self._held = rest[1:] if listed else rest
        self._scan(blanks + "[" if listed else blanks, self._next, bare=False)
        return True

    def _next(self) -> bool:
        rest = self._rest()
        if rest == "":
            return False
        if rest is not None and rest[0] == "," and self._calls < MOST_CALLS:
            self._held = rest[1:]
            self._scan(",", self._next, bare=False)
            return True
        self._state = self._text
        if rest is not None and rest[0] == "]":
            self._held = rest[1:]
            self._state = self._done
        return True

    def _done(self) -> bool:
        """After the list nothing comes but blanks."""
        if self._rest() == "":
            return False
        self._state = self._text
        return True

    def _last(self) -> None:
        if self._state != self._text:
            return  # the blanks at the end, or the beginning of a call that was cut off
        super()._last()


def calls_schema(functions: Sequence[tuple[str, str]], *, parallel: bool) -> str:
    """The schema of calls of functions.

    Args:
        functions: names, and vetted schemas of their arguments.
        parallel: several calls, as a list; else one.
    """
    definitions: dict[str, Any] = {}
    calls = []
    for index, (name, schema) in enumerate(functions):
        arguments = json.loads(schema)
        for inner, node in arguments.pop("$defs", {}).items():
            definitions[f"f{index}{inner}"] = _renamed(node, index)
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"enum": [name]}, "arguments": _renamed(arguments, index)},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    call = calls[0] if len(calls) == 1 else {"anyOf": calls}
    found: dict[str, Any] = call
    if parallel:
        found = {"type": "array", "items": call, "minItems": 1, "maxItems": MOST_CALLS}
    if definitions:
        found = {**found, "$defs": definitions}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _renamed(node: Any, index: int) -> Any:
    """A vetted schema whose references go to the definitions of one function among several."""
    if not isinstance(node, dict) or "enum" in node:
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"].replace("#/$defs/", f"#/$defs/f{index}")}
    found = dict(node)
    for name in ("items", "additionalProperties"):
        if name in found:
            found[name] = _renamed(found[name], index)
    for name in ("anyOf", "prefixItems"):
        if name in found:
            found[name] = [_renamed(one, index) for one in found[name]]
    if "properties" in found:
        found["properties"] = {
            name: _renamed(one, index) for name, one in found["properties"].items()
        }
    return found
