"""Schemas of answers: what is kept, what is written for it, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.dialects.openai.schema import check_bounds, check_schema
from maas.dialects.openai.schema.pattern import read_pattern

INTEGER = {"type": "integer"}
NODE = {
    "type": "object",
    "properties": {"value": INTEGER, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
    "required": ["value", "next"],
}


def written(schema: Any, *, strict: bool = True) -> Any:
    return json.loads(check_schema(schema, strict=strict))


def refusal(schema: Any, *, strict: bool = False) -> str:
    with pytest.raises(MaasError) as caught:
        check_schema(schema, strict=strict)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


def object_of(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (INTEGER, INTEGER),
        (
            {"type": "boolean", "title": "A", "description": "b", "default": True},
            {"type": "boolean"},
        ),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"enum": ["a", 1, None, {"k": [1.5]}]}, {"enum": ["a", 1, None, {"k": [1.5]}]}),
        ({"const": '中\n"'}, {"enum": ['中\n"']}),
        ({"type": "integer", "enum": [1, 2.0, "3", True]}, {"enum": [1, 2.0]}),
        ({"enum": [1, True], "const": True}, {"enum": [True]}),
        ({"properties": {"a": INTEGER}, "required": ["a"]}, object_of(a=INTEGER)),
        (
            {"type": "object", "properties": {"b": {}, "a": True}, "required": ["a"]},
            {**object_of(b={}, a={}), "required": ["a"]},
        ),
        ({"type": "object", "properties": {}}, {"type": "object", "additionalProperties": False}),
        ({"type": "object"}, {"type": "object"}),
        ({"type": "object", "additionalProperties": True}, {"type": "object"}),
        ({"type": "object", "required": ["a"]}, object_of(a={})),
        (
            {"type": "object", "additionalProperties": INTEGER},
            {"type": "object", "additionalProperties": INTEGER},
        ),
        (
            {**object_of(a=INTEGER), "additionalProperties": {"type": "string"}},
            object_of(a=INTEGER),
        ),
        ({"type": "array"}, {"type": "array"}),
        ({"items": INTEGER, "minItems": 1}, {"type": "array", "items": INTEGER, "minItems": 1}),
        ({"type": "array", "maxItems": 10**6}, {"type": "array", "items": {}, "maxItems": 1024}),
        (
            {"type": "array", "prefixItems": [INTEGER, INTEGER], "minItems": 2},
            {
                "type": "array",
                "prefixItems": [INTEGER, INTEGER],
                "items": False,
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (
            {"type": "array", "items": [INTEGER], "additionalItems": {"type": "null"}},
            {"type": "array", "prefixItems": [INTEGER], "items": {"type": "null"}},
        ),
        (
            {"type": "string", "minLength": 1, "maxLength": 9},
            {"type": "string", "minLength": 1, "maxLength": 9},
        ),
        ({"type": "string", "format": "idn-email"}, {"type": "string"}),
        ({"anyOf": [INTEGER]}, INTEGER),
        ({"oneOf": [INTEGER, False, {"type": "null"}]}, {"anyOf": [INTEGER, {"type": "null"}]}),
        (
            {**object_of(a=INTEGER), "required": [], "anyOf": [{"required": ["a"]}]},
            object_of(a=INTEGER),
        ),
        ({"allOf": [INTEGER, {"minimum": 0}]}, {"type": "integer", "minimum": 0}),
        ({"allOf": [{"enum": [1, True, "a"]}, {"enum": [True, "a"]}]}, {"enum": [True, "a"]}),
        (
            {"allOf": [{"required": ["a", "b"]}, {"required": ["b"], "type": "object"}]},
            object_of(a={}, b={}),
        ),
        ({"allOf": [{"type": ["integer", "null"]}, {"type": "number"}]}, INTEGER),
        (
            {"allOf": [{"properties": {"a": INTEGER}}, {"properties": {"a": {"minimum": 1}}}]},
            {**object_of(a={"type": "integer", "minimum": 1}), "required": []},
        ),
        ({"uniqueItems": False, "type": "array"}, {"type": "array"}),
    ],
)
def test_what_is_written(schema, expected):
    assert written(schema) == expected


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"minimum": 0}, {"type": "integer", "minimum": 0}),
        ({"exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"minimum": 0, "maximum": 65535}, {"type": "integer", "minimum": 0, "maximum": 65535}),
        ({"maximum": -1}, {"type": "integer", "maximum": -1}),
        ({"minimum": 2.5, "maximum": 5.5}, {"enum": [3, 4, 5]}),
        ({"minimum": 7}, {"anyOf": [{"enum": [7, 8, 9]}, {"type": "integer", "minimum": 10}]}),
        ({"maximum": -98}, {"anyOf": [{"enum": [-98, -99]}, {"type": "integer", "maximum": -100}]}),
        (
            {"minimum": -5000, "maximum": 5000},
            {
                "anyOf": [
                    {"type": "integer", "minimum": -5000, "maximum": -1},
                    {"type": "integer", "minimum": 0, "maximum": 5000},
                ]
            },
        ),
        ({"minimum": -(10**30), "maximum": 10**30}, INTEGER),
    ],
)
def test_ranges_of_integers(bounds, expected):
    assert written({"type": "integer", **bounds}) == expected


def test_references_become_definitions_with_plain_names():
    assert written({"$ref": "#/$defs/a~1b", "$defs": {"a/b": INTEGER}, "title": "x"}) == {
        "$ref": "#/$defs/d0",
        "$defs": {"d0": INTEGER},
    }
    both = {"anyOf": [INTEGER, {"type": "array", "items": {"$ref": "#/anyOf/0"}}]}
    assert written(both)["$defs"] == {"d0": INTEGER}
    beside = {
        "$defs": {"a": {"properties": {"k": INTEGER}}},
        "$ref": "#/$defs/a",
        "required": ["k"],
    }
    assert written(beside) == object_of(k=INTEGER)


def test_a_schema_may_refer_to_itself():
    node = written({"$ref": "#/$defs/n", "$defs": {"n": NODE}})["$defs"]["d0"]
    assert node["properties"]["next"]["anyOf"][0] == {"$ref": "#/$defs/d0"}
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert "$defs" in written({**tree, "required": ["children"]})


def test_any_value_is_spelt_out():
    for schema in (True, {}, {"description": "what you like"}):
        kinds = {one["type"] for one in written(schema)["anyOf"]}
        assert kinds == {"object", "array", "string", "number", "boolean", "null"}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (False, "is false"),
        ({"type": []}, "type is an empty list"),
        ({"enum": []}, "leave no value"),
        ({"enum": [1], "const": 2}, "leave no value"),
        ({"type": "string", "const": 1}, "leave no value"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "above its greatest 1"),
        ({"type": "integer", "minimum": 1.2, "maximum": 1.8}, "no integer between"),
        ({"type": "number", "exclusiveMinimum": 2, "maximum": 1}, "above its greatest"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "above maxLength"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "no text of its pattern"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "above maxItems"),
        ({"type": "array", "prefixItems": [{}], "items": False, "minItems": 2}, "allows 1"),
        ({"required": ["a"], "additionalProperties": False}, "requires 'a'"),
        ({"type": "object", "properties": {"a": False}}, "#/properties/a"),
        ({"anyOf": [False]}, "all false"),
        ({"allOf": [INTEGER, {"type": "string"}]}, "different types"),
        ({"allOf": [INTEGER, False]}, "is false"),
        ({"allOf": [object_of(a={}), object_of(b={})]}, "excludes additional"),
        ({"$ref": "#"}, "nothing in between"),
        ({"$ref": "#", "type": "object"}, "nothing in between"),
        (
            {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, INTEGER]}}, "$ref": "#/$defs/a"},
            "between",
        ),
        ({"$defs": {"n": object_of(n={"$ref": "#/$defs/n"})}, "$ref": "#/$defs/n"}, "without end"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "without end"),
    ],
)
def test_what_no_value_meets(schema, said):
    message = refusal(schema)
    assert "can be met by no value" in message
    assert said in message


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (1, "must be an object or a boolean"),
        ({"type": "text"}, "must be one of object"),
        ({"type": 1}, "must be one of object"),
        ({"minimum": 1, "pattern": "a"}, "give its type"),
        ({"enum": 1}, "list of values"),
        ({"anyOf": []}, "at least one"),
        ({"anyOf": {}}, "at least one"),
        ({"allOf": {}}, "list of schemas"),
        ({"allOf": [{"enum": [1] * 1001}, {"enum": [1]}]}, "more than 1000 values"),
        ({"allOf": [1]}, "list of schemas"),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "'pattern' twice"),
        ({"type": "object", "properties": []}, "object of schemas"),
        ({"type": "object", "properties": {"a": 1}}, "#/properties/a must be"),
        ({"type": "object", "properties": {'a"': {}}}, "quotation marks"),
        ({"type": "object", "properties": {"a" * 257: {}}}, "256 characters"),
        ({"type": "object", "properties": {str(i): True for i in range(257)}}, "at most 256"),
        ({"type": "object", "required": "a"}, "list of names"),
        ({"type": "array", "items": 1}, "must be a schema"),
        ({"type": "array", "prefixItems": 1}, "list of schemas"),
        ({"type": "array", "minItems": -1}, "integer from 0"),
        ({"type": "array", "minItems": 1025}, "1024"),
        ({"type": "string", "minLength": "1"}, "integer from 0"),
        ({"type": "string", "pattern": 1}, "must be a string"),
        ({"type": "integer", "minimum": "1"}, "must be a number"),
        ({"type": "integer", "exclusiveMinimum": True}, "must be a number"),
        ({"type": "integer", "minimum": float("inf")}, "must be a number"),
        ({"enum": [2**53 + 1]}, "2^53"),
        ({"enum": [{"a": [1e300]}]}, "too large"),
        ({"enum": list(range(1001))}, "more than 1000 values"),
        ({"$ref": 1}, "must be a string"),
        ({"$ref": "http://127.0.0.1/a.json"}, "begin with '#/'"),
        ({"$ref": "other.json#/a"}, "begin with '#/'"),
        ({"$ref": "#anchor"}, "begin with '#/'"),
        ({"$ref": "#/$defs/a"}, "not there"),
        ({"anyOf": [{}], "items": {"$ref": "#/anyOf/1"}}, "not there"),
        ({"$dynamicRef": "#a"}, "$dynamicRef"),
        ({"const": "\ud800"}, "Unicode"),
        ({"const": "a" * 65536}, "at most 65536"),
    ],
)
def test_what_is_refused(schema, said):
    assert said in refusal(schema)


def test_bounds():
    deep: Any = INTEGER
    for _ in range(40):
        deep = {"type": "array", "items": deep}
    assert "32 schemas deep" in refusal(deep)
    for _ in range(100):
        deep = {"items": deep}
    assert "nested more than 128 deep" in refusal(deep)
    wide = {"anyOf": [{"type": "array", "items": INTEGER}] * 600}
    assert "more than 1000 schemas" in refusal(wide)
    # Each definition doubles the one before.
    doubling = {"d0": {"title": "a", "type": "integer"}}
    for index in range(1, 30):
        before = {"$ref": f"#/$defs/d{index - 1}"}
        doubling[f"d{index}"] = {"allOf": [before, before]}
    assert "256 schemas" in refusal({"$defs": doubling, "$ref": "#/$defs/d29", "type": "integer"})
    assert check_bounds({"a": [1, "é"]}, "it") == '{"a":[1,"é"]}'.encode()


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "minProperties": 1}, "minProperties"),
        ({"type": "object", "patternProperties": {"^a": {}}}, "patternProperties"),
        ({"not": INTEGER}, "not"),
        ({"type": "integer", "multipleOf": 2}, "multipleOf"),
        ({"type": "number", "minimum": 0}, "minimum"),
        ({"type": "number", "exclusiveMaximum": 1}, "exclusiveMaximum"),
        ({"type": "integer", "minimum": 1024, "maximum": 65535}, "minimum"),
        ({"type": "integer", "maximum": 10**6, "minimum": 10**30 - 10**30 + 5000}, "minimum"),
        ({"type": "string", "maxLength": 4000}, "maxLength"),
        ({"type": "string", "minLength": 4000}, "minLength"),
        ({"type": "string", "pattern": "^[a-z]{1,100}$"}, "pattern"),
        ({"type": "string", "pattern": "^[0-9]+$", "maxLength": 5}, "maxLength"),
    ],
)
def test_what_cannot_be_kept_is_left_out_unless_strict(schema, named):
    assert repr(named) in refusal(schema, strict=True)
    assert named not in str(written(schema, strict=False)) or named == "pattern"


def test_what_patterns_and_lengths_cost_adds_up():
    text = {"type": "string", "maxLength": 20}
    assert "maxLength" in refusal(object_of(a=text, b=text), strict=True)
    kept = written(object_of(a=text, b=text), strict=False)["properties"]
    assert kept == {"a": text, "b": {"type": "string"}}
    many = {str(index): {"type": "string", "format": "uuid"} for index in range(40)}
    found = written(object_of(**many))["properties"].values()
    assert {"type": "string"} in found


@pytest.mark.parametrize("name", ["date", "time", "date-time", "uuid"])
def test_formats_are_patterns(name):
    pattern = written({"type": "string", "format": name})["pattern"]
    examples = {
        "date": "2026-02-28",
        "time": "23:59:59+08:00",
        "date-time": "2026-11-22T10:00:00Z",
        "uuid": "123e4567-e89b-12d3-a456-426614174000",
    }
    assert re.fullmatch(pattern[1:-1], examples[name])
    assert not re.fullmatch(pattern[1:-1], "2026-02-30")


ANY = '[^\\x00-\\x1f"\\\\]'


@pytest.mark.parametrize(
    ("pattern", "text", "least", "most"),
    [
        ("^abc$", "abc", 3, 3),
        ("^$", "", 0, 0),
        ("", f"{ANY}*{ANY}*", 0, None),
        ("b", f"{ANY}*b{ANY}*", 1, None),
        ("^a|b$", f"(a{ANY}*|{ANY}*b)", 1, None),
        ("^(?:a|(?<n>bc))?$", "(a|(bc))?", 0, 2),
        ("^((a|b))$", "(a|b)", 1, 1),
        ("^[a-cb-d]+?$", "[a-d]+", 1, None),
        ("^.$", ANY, 1, 1),
        ("^[\\d\\-.]{2,3}$", "[\\--.0-9]{2,3}", 2, 3),
        ("^\\w\\s\\S$", '[0-9A-Z_a-z][ ][^\\x00- "\\\\]', 3, 3),
        ("^[^a]{2,}$", '[^\\x00-\\x1f"\\\\a]{2,}', 2, None),
        ("^\\$\\x41\\u4e2d$", "\\$A中", 3, 3),
        ("^[가-힣]*$", "[가-힣]*", 0, None),
        ("^[\\u0400-\\ud7ff\\n\\t]$", "[Ѐ-힣]", 1, 1),
        ("^[😀-🙏]{0}$", "[😀-🙏]{0}", 0, 0),
    ],
)
def test_patterns_are_written_anew(pattern, text, least, most):
    read = read_pattern(pattern, "#")
    assert (read.text, read.least, read.most) == (text, least, most)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(?=a)", "lookarounds"),
        ("(?<!a)", "lookarounds"),
        ("(?i)a", "lookarounds and flags"),
        ("(?<na", "name"),
        ("(?<1>a)", "name"),
        (r"^(a)\1$", r"\1 is not read"),
        (r"\bа", r"\b is not read"),
        (r"\p{L}", r"\p is not read"),
        ("a^", "beginning and end"),
        ("(^a)", "beginning and end"),
        ("a$b", "beginning and end"),
        ("*a", "repeats nothing"),
        ("a**", "repetition is repeated"),
        ("a{2}{3}", "repetition is repeated"),
        ("a{,3}", "is read as"),
        ("a{b}", "is read as"),
        ("a{3,2}", "allows nothing"),
        ("a{1001}", "more than 1000"),
        ("(a", "without its ')'"),
        ("a)", "without its '('"),
        ("[a", "without its ']'"),
        ("[", "without its ']'"),
        ("]", r"write \]"),
        ("[b-a]", "before it begins"),
        (r"[a-\d]", "before it begins"),
        ("\\", "ends within"),
        (r"\x4", "hexadecimal"),
        (r"\u00zz", "hexadecimal"),
        ('"', "quotation mark"),
        (r"\\", "quotation mark"),
        (r"\n", "quotation mark"),
        ("\ud800", "surrogate"),
        (r"[\"\\]", "no character"),
        ("[^一-龥]", "ASCII"),
        ("a|" * 8 + "a", "more than 8 alternatives"),
        ("(" * 20 + "a" + ")" * 20, "16 groups"),
        ("a" * 513, "at most 512"),
    ],
)
def test_patterns_that_are_refused(pattern, said):
    with pytest.raises(MaasError) as caught:
        read_pattern(pattern, "#")
    assert said in caught.value.message


@given(pattern=st.text('ab()[]{}|*+?^$\\-.,0123dDwWsSxun"中', max_size=20))
def test_a_written_pattern_can_be_read_again(pattern):
    try:
        read = read_pattern(pattern, "#")
    except MaasError:
        return
    again = read_pattern(read.anchored, "#")
    assert (again.text, again.least, again.most) == (read.text, read.least, read.most)
    re.compile(read.text)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["#", "#/$defs/a", "object", "array", "string", "^a$", "integer", "date"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "properties", "required", "additionalProperties", "items", "enum"),
                    *("prefixItems", "minItems", "maxItems", "pattern", "minLength", "maxLength"),
                    *("minimum", "maximum", "exclusiveMinimum", "anyOf", "oneOf", "allOf", "const"),
                    *("$ref", "$defs", "a", "format", "not", "multipleOf", "title"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(schema=VALUES, strict=st.booleans())
def test_whatever_is_sent_is_checked_or_refused(schema, strict):
    try:
        found = check_schema(schema, strict=strict)
    except MaasError:
        return
    # What was written is a schema that is kept as it is.
    assert check_schema(json.loads(found), strict=True) is not None
