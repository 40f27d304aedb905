"""What is told to xgrammar otherwise than the schema says it."""

from __future__ import annotations

import json

from maas.runtimes.language.xgrammar import for_xgrammar


def test_xgrammar_is_told_otherwise():
    schema = {
        "type": "object",
        "properties": {
            "enum": {"type": "array", "items": {"enum": [1, "a", 1]}, "prefixItems": [{}]},
            "minLength": {"anyOf": [{"type": "string", "minLength": 1}, {"enum": ["a"]}]},
        },
        "additionalProperties": False,
        "$defs": {"d0": {"type": "string", "maxLength": 9}},
    }
    character = r'([^"\\\x00-\x1f]|\\["\\/bfnrt])'
    assert json.loads(for_xgrammar(json.dumps(schema))) == {
        "type": "object",
        "properties": {
            "enum": {
                "type": "array",
                "items": {"anyOf": [{"$ref": "#/$defs/value0"}, {"$ref": "#/$defs/value1"}]},
                "prefixItems": [{}],
            },
            "minLength": {
                "anyOf": [{"type": "string", "pattern": f"^{character}{{1,}}$"}, {"enum": ["a"]}]
            },
        },
        "additionalProperties": False,
        "$defs": {
            "d0": {"type": "string", "pattern": f"^{character}{{0,9}}$"},
            "value0": {"enum": [1]},
            "value1": {"enum": ["a"]},
        },
    }
