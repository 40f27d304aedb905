"""`tools` and `tool_choice`: what the template reads, what answers are held to, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import MaasError
from maas.dialects.openai.errors import ParameterError
from maas.dialects.openai.fields import Fields
from maas.dialects.openai.tools import ToolUse, read_tools
from maas.dialects.openai.tools.forced import ListParser, NamedParser

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**CITY, "additionalProperties": False}


def tool(name: str = "weather", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": CITY, **function}}


def read(**members: Any) -> ToolUse | None:
    return read_tools(Fields(members))


def grammar(**members: Any) -> Any:
    use = read(**members)
    assert use is not None
    assert use.grammar is not None
    assert use.grammar.schema is not None
    return json.loads(use.grammar.schema)


def refusal(**members: Any) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        read(**members)
    return caught.value


def test_what_the_template_reads():
    described = tool(description="of a city", strict=True)
    bare = {"type": "function", "function": {"name": "now"}, "cache": 1}
    use = read(tools=[described, bare])
    assert use is not None
    assert (use.grammar, use.parser) == (None, None)
    assert json.loads(use.prompt) == [
        tool(description="of a city"),
        tool("now", parameters={"type": "object", "properties": {}}),
    ]


@pytest.mark.parametrize(
    "members", [{}, {"tools": []}, {"tools": None}, {"tools": [tool()], "tool_choice": "none"}]
)
def test_no_tools(members):
    assert read(**members) is None


def test_a_function_that_is_named_is_called():
    chosen = {"type": "function", "function": {"name": "weather"}}
    use = read(tools=[tool(), tool("now")], tool_choice=chosen)
    assert use is not None
    assert use.parser is not None
    assert isinstance(use.parser(), NamedParser)
    assert grammar(tools=[tool(), tool("now")], tool_choice=chosen) == CLOSED


def test_some_function_is_called():
    def call(name: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"name": {"enum": [name]}, "arguments": CLOSED},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }

    use = read(tools=[tool()], tool_choice="required")
    assert use is not None
    assert use.parser is not None
    assert isinstance(use.parser(), ListParser)
    one = grammar(tools=[tool()], tool_choice="required", parallel_tool_calls=False)
    assert one == call("weather")
    several = grammar(tools=[tool(), tool("b")], tool_choice="required")
    assert several["items"] == {"anyOf": [call("weather"), call("b")]}
    assert (several["type"], several["minItems"], several["maxItems"]) == ("array", 1, 128)


def test_references_of_several_functions_do_not_meet():
    def tree(kind: str) -> dict[str, Any]:
        inner = {"type": "array", "items": {"$ref": "#/$defs/t"}}
        return {
            "properties": {"t": {"$ref": "#/$defs/t"}},
            "$defs": {"t": {"anyOf": [{"type": kind}, inner]}},
        }

    found = grammar(
        tools=[tool("a", parameters=tree("string")), tool("b", parameters=tree("null"))],
        tool_choice="required",
    )
    assert [one["anyOf"][0]["type"] for one in found["$defs"].values()] == ["string", "null"]
    for index, call in enumerate(found["items"]["anyOf"]):
        name = call["properties"]["arguments"]["properties"]["t"]["$ref"].split("/")[-1]
        assert name == f"f{index}d0"
        assert found["$defs"][name]["anyOf"][1]["items"]["$ref"].endswith(name)


@pytest.mark.parametrize(
    ("members", "param", "said"),
    [
        ({"functions": []}, "functions", "send tools"),
        ({"function_call": "auto"}, "function_call", "send tool_choice"),
        ({"tools": {}}, "tools", "a list"),
        ({"tools": [tool(str(index)) for index in range(129)]}, "tools", "at most 128"),
        ({"tools": [1]}, "tools[0]", "expected an object"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type", "'function'"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "an object with name"),
        ({"tools": [tool("")]}, "tools[0].function.name", "1 to 64"),
        ({"tools": [tool("a.b")]}, "tools[0].function.name", "1 to 64"),
        ({"tools": [tool("a" * 65)]}, "tools[0].function.name", "1 to 64"),
        ({"tools": [tool(1)]}, "tools[0].function.name", "1 to 64"),
        ({"tools": [tool(), tool()]}, "tools", "twice"),
        ({"tools": [tool(description=1)]}, "tools[0].function.description", "a string"),
        ({"tools": [tool(description="a" * 16385)]}, "tools[0].function.description", "at most"),
        ({"tools": [tool(strict=1)]}, "tools[0].function.strict", "true or false"),
        ({"tools": [tool(parameters=1)]}, "tools[0].function.parameters", "an object"),
        ({"tools": [tool(parameters={"type": "string"})]}, "tools[0].function.parameters", "of an"),
        ({"tools": [tool(parameters={"a": "b" * 65536})]}, "tools[0].function.parameters", "bytes"),
        ({"tool_choice": "required"}, "tool_choice", "send tools"),
        ({"tools": [tool()], "tool_choice": "any"}, "tool_choice", "auto, required"),
        ({"tools": [tool()], "tool_choice": 1}, "tool_choice", "an object"),
        ({"tools": [tool()], "tool_choice": 5}, "tool_choice", "auto, required, or an object"),
        ({"tools": [tool()], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type", "kind"),
        ({"tools": [tool()], "tool_choice": {"type": "function"}}, "tool_choice.function", "name"),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "no"}}},
            "tool_choice.function.name",
            "one of tools",
        ),
        (
            {"tools": [tool(parameters={"properties": {"a": False}})], "tool_choice": "required"},
            "tools[0].function.parameters",
            "by no value",
        ),
        (
            {
                "tools": [tool(parameters={"minProperties": 1}, strict=True)],
                "tool_choice": "required",
            },
            "tools[0].function.parameters",
            "minProperties",
        ),
    ],
)
def test_what_is_refused(members, param, said):
    error = refusal(**members)
    assert error.param == param
    assert said in error.message


def test_schemas_for_the_model_to_read_need_not_be_kept():
    assert read(tools=[tool(parameters={"not": {}, "uniqueItems": True, "$ref": "http://x"})])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just("function"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "function", "name", "parameters", "strict", "properties"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(tools=VALUES, choice=VALUES | st.sampled_from(["auto", "required", "none"]))
def test_whatever_is_sent_is_read_or_refused(tools, choice):
    try:
        read(tools=tools, tool_choice=choice)
    except MaasError as error:
        said = error.message
    else:
        said = "read"
    assert said
