"""KServe's V1 bodies."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from maas.dialects.openai.models import ListedModel, list_members


def encode_model_list(names: Sequence[str], written: Sequence[ListedModel]) -> bytes:
    """Writes `GET /v1/models`: KServe's `models`, and the list that OpenAI's clients look for.

    Args:
        names: of all models that have a version for calls.
        written: the language models among them, which OpenAI's paths can call, by all their names.
    """
    return orjson.dumps({"models": list(names), **list_members(written)})
