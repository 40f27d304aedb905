"""Language models as OpenAI's API lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

OWNER = "maas"


class ListedModel(Struct, frozen=True):
    """One name by which a language model may be asked for.

    Args:
        id: the name.
        created: seconds since 1970.
        context_tokens: of its context.
    """

    id: str
    created: int
    context_tokens: int


def model_members(model: ListedModel) -> dict[str, Any]:
    """One model; `max_model_len` is vLLM's, by which clients size their prompts."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": OWNER,
        "max_model_len": model.context_tokens,
    }


def list_members(models: Sequence[ListedModel]) -> dict[str, Any]:
    """`GET /v1/models`, the part that is OpenAI's."""
    return {"object": "list", "data": [model_members(model) for model in models]}
