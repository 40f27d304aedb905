"""`response_format`: what an answer must be."""

from __future__ import annotations

from maas.core.generation import Grammar
from maas.dialects.openai.errors import about
from maas.dialects.openai.fields import Fields
from maas.dialects.openai.schema import check_schema

MOST_NAME = 64
KINDS = "text, json_object or json_schema"


def read_grammar(fields: Fields) -> Grammar | None:
    """Reads it; None where the answer may be any text.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    wanted = fields.fields("response_format")
    if wanted is None:
        return None
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Grammar()
    if kind != "json_schema":
        raise wanted.refused("type", KINDS)
    described = wanted.fields("json_schema")
    if described is None:
        raise wanted.refused("json_schema", "an object with name and schema")
    described.text("name", MOST_NAME)
    schema = described.get("schema")
    if schema is None:
        return Grammar()
    with about(described.path("schema")):
        return Grammar(check_schema(schema, strict=described.flag("strict")))
