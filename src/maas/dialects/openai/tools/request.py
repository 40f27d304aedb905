"""`tools` and `tool_choice` of a request, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from maas.core.generation import Grammar
from maas.dialects.openai.errors import ParameterError, about
from maas.dialects.openai.fields import Fields, shown, to_json
from maas.dialects.openai.schema import check_bounds, check_schema
from maas.dialects.openai.tools.events import ToolParser
from maas.dialects.openai.tools.forced import ListParser, NamedParser, calls_schema
from maas.dialects.openai.tools.markup import HermesParser, LlamaParser, MistralParser

MOST_TOOLS = 128
MOST_DESCRIPTION = 16 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PARSERS: dict[str, Callable[[], ToolParser]] = {
    "hermes": HermesParser,
    "llama3": LlamaParser,
    "mistral": MistralParser,
}
FORMATS = frozenset(_PARSERS)
"""The ways of writing calls that are understood here."""


class ToolSpec(Struct, frozen=True):
    """A function that may be called.

    Args:
        name: of it.
        described: what the model's template reads of it.
        parameters: the schema of its arguments, as the request has it.
        strict: refuse a schema that cannot be kept.
    """

    name: str
    described: dict[str, Any]
    parameters: dict[str, Any]
    strict: bool


class ToolUse(Struct, frozen=True):
    """What a request says about tools.

    Args:
        prompt: `ChatPrompt.tools`.
        grammar: holds the answer to calls, where calls are demanded.
        parser: makes what reads such an answer; None where the model decides.
    """

    prompt: bytes
    grammar: Grammar | None = None
    parser: Callable[[], ToolParser] | None = None


def parser_for(way: str) -> Callable[[], ToolParser]:
    """What makes parsers for a way of writing calls, one of `FORMATS`."""
    return _PARSERS[way]


def read_tools(fields: Fields) -> ToolUse | None:
    """Reads `tools` and `tool_choice`.

    Returns:
        None where no tool may be called.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    for old, new in (("functions", "tools"), ("function_call", "tool_choice")):
        if fields.get(old) is not None:
            raise ParameterError(old, f"{old} has been replaced; send {new}")
    listed = fields.list("tools", MOST_TOOLS)
    specs = [_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(listed or ())]
    names = [spec.name for spec in specs]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ParameterError("tools", f"tools has the function {name!r} twice")
    parallel = fields.flag("parallel_tool_calls", True)
    choice, chosen = _read_choice(fields, names)
    if not specs or choice == "none":
        return None
    prompt = to_json([{"type": "function", "function": spec.described} for spec in specs], "tools")
    if choice == "auto":
        return ToolUse(prompt)
    grammar, parser = forced(specs, chosen, parallel=parallel)
    return ToolUse(prompt, grammar, parser)


def forced(
    specs: Sequence[ToolSpec], chosen: str | None, *, parallel: bool
) -> tuple[Grammar, Callable[[], ToolParser]]:
    """What makes a model call: one function, or any of them.

    Returns:
        What the answer is held to, and what makes parsers that read it. The answer is the
        arguments of the one function; or `{"name", "arguments"}`, in a list where several calls
        are allowed.

    Raises:
        MaasError: INVALID_ARGUMENT where the schema of a function's arguments cannot be kept.
    """
    checked = {}
    for index, spec in enumerate(specs):
        if chosen in (None, spec.name):
            with about(f"tools[{index}].function.parameters"):
                checked[spec.name] = check_schema(spec.parameters, strict=spec.strict)
    if chosen is not None:
        return Grammar(checked[chosen]), lambda: NamedParser(chosen)
    return Grammar(calls_schema(list(checked.items()), parallel=parallel)), ListParser


def _read_tool(tool: object, path: str) -> ToolSpec:
    if not isinstance(tool, dict):
        raise ParameterError(
            path, f"{path} is {shown(tool)}; expected an object with type and function"
        )
    outer = Fields(tool, path)
    if outer.get("type") != "function":
        raise outer.refused("type", "'function', the only kind of tool here")
    fields = outer.fields("function")
    if fields is None:
        raise outer.refused("function", "an object with name, description and parameters")
    name = fields.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise fields.refused("name", "1 to 64 of the characters a-z, A-Z, 0-9, _ and -")
    parameters = fields.object("parameters") or {}
    with about(fields.path("parameters")):
        check_bounds(parameters, "the schema")
    if parameters.get("type", "object") != "object":
        param = fields.path("parameters")
        raise ParameterError(param, f"{param} must be the schema of an object")
    described: dict[str, Any] = {"name": name}
    description = fields.text("description", MOST_DESCRIPTION)
    if description is not None:
        described["description"] = description
    described["parameters"] = parameters or {"type": "object", "properties": {}}
    schema = {"type": "object", "properties": {}, **parameters}
    return ToolSpec(name, described, schema, fields.flag("strict"))


def _read_choice(fields: Fields, names: Sequence[str]) -> tuple[str, str | None]:
    """`tool_choice`: none, auto or required, and the function where one is named."""
    choice = fields.get("tool_choice")
    expected = "none, auto, required, or an object that names a function"
    if choice is None:
        return "auto", None
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise fields.refused("tool_choice", expected)
        if choice == "required" and not names:
            raise ParameterError("tool_choice", "tool_choice is required; send tools with it")
        return choice, None
    outer = fields.fields("tool_choice") if isinstance(choice, dict) else None
    if outer is None:
        raise fields.refused("tool_choice", expected)
    if outer.get("type") != "function":
        raise outer.refused("type", "'function', the only kind of choice here")
    inner = outer.fields("function")
    if inner is None:
        raise outer.refused("function", "an object with the name of a function")
    name = inner.get("name")
    if name not in names:
        raise inner.refused("name", "the name of one of tools")
    return "required", name
