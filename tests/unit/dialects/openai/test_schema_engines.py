"""What `check_schema` accepts is kept by both engines: what they write is of the schema.

Each engine runs in a process of its own with a time limit: a schema that it cannot take may throw,
hang or crash there, or be ignored.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.language import tiny_gguf

from maas.dialects.openai.schema import check_schema

HERE = Path(__file__).parent
LIMIT_S = 120
TEXT = {"type": "string"}
INTEGER = {"type": "integer"}


def patterned(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": object_of(
            value={"enum": ["a", "ab", "b", "abc", "-1", "-12", "中\n\"'\\"]},
            children={"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1},
        )
    },
}
SCHEMAS: list[Any] = [
    True,
    {"type": "object", "additionalProperties": INTEGER},
    {"type": "array", "maxItems": 3},
    {"type": ["integer", "null", "boolean", "number"]},
    object_of(a=INTEGER, b={"type": "null"}, é=TEXT),
    object_of(a={"type": "string", "minLength": 3, "maxLength": 8}),
    {"type": "string", "minLength": 1},
    {"type": "integer", "minimum": -30, "maximum": 30},
    {"type": "integer", "minimum": 7},
    {"type": "integer", "minimum": -70_000, "maximum": 70_000},
    {"type": "integer", "exclusiveMaximum": -5},
    {"enum": [f"pre-{a}{b}-post" for a in "abc" for b in ("", "a", "bc", "c")]},
    {"enum": [2**53, -0.25, 1e-7, "\u2028😀", {"a": [None]}]},
    {"type": "array", "prefixItems": [INTEGER, {"type": "null"}], "minItems": 2},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"anyOf": [object_of(kind={"const": "a"}), object_of(kind={"const": "b"}, n=INTEGER)]},
    TREE,
    *({"type": "string", "format": name} for name in ("date", "time", "date-time", "uuid")),
    *map(patterned, ["^[^a-z]{1,5}$", "^.{2,4}$", "^https://\\w+$", "^[^\\s@]+@[^\\s@]+$", "x"]),
    *map(
        patterned, ["^(a|bc){1,3}$", "^[一-龥]{1,4}$", "^\\[\\d+(\\.\\d+)?\\]$", "^[😀-🙏가-힣]+$"]
    ),
]


def keeps(schema: Any, text: str) -> bool:
    """Whether an answer is JSON of a schema.

    A weak model may write bytes that are no character: they are read as several of U+FFFD, which
    no length or pattern counts.
    """
    value = json.loads(text)
    return "\ufffd" in text or jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("engine", ["openvino", "llamacpp"])
def test_what_is_accepted_is_kept(engine, tmp_path):
    model = tiny_gguf(tmp_path / "model.gguf")
    checked = [check_schema(schema, strict=True) for schema in SCHEMAS]
    lines = [schema for schema in checked for _ in range(6)]
    asked = [schema for schema in SCHEMAS for _ in range(6)]
    done = subprocess.run(
        [sys.executable, str(HERE / "engines.py"), engine, str(model)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    answers = done.stdout.partition("ready\n")[2].splitlines()
    assert len(answers) == len(lines), f"exit {done.returncode}: {done.stderr[-2000:]}"
    whole = set()
    for schema, line, answer in zip(asked, lines, answers, strict=True):
        text = json.loads(answer)
        if text:  # else cut off: random weights may write blanks for ever
            assert keeps(schema, text), (schema, text)
            whole.add(line)
    assert len(whole) > 0.8 * len(checked)
