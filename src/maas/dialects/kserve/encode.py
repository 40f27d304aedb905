"""KServe's V1 bodies."""

from __future__ import annotations

from collections.abc import Sequence

import orjson


def encode_model_list(names: Sequence[str]) -> bytes:
    """Writes `GET /v1/models`: KServe's `models`, and the list that OpenAI's clients look for.

    OpenAI's `data` lists what its own paths can call: nothing, as they are not built yet.
    """
    return orjson.dumps({"models": list(names), "object": "list", "data": []})
