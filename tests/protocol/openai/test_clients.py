"""The openai package's errors, against a server that wants keys. What it does with a language model
stands in `tests/conformance`."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

HELLO: Any = [{"role": "user", "content": "Hello"}]


def client(server: Any, key: str) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def test_a_wrong_key(guarded):
    with client(guarded, "wrong") as unknown:
        for call in (
            lambda: unknown.chat.completions.create(model="iris", messages=HELLO),
            lambda: unknown.completions.create(model="iris", prompt="a"),
            lambda: unknown.chat.completions.create(model="iris", messages=HELLO, stream=True),
        ):
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            assert caught.value.code == "invalid_api_key"
            assert caught.value.request_id
        with pytest.raises(openai.AuthenticationError):
            unknown.models.list()


def test_models_that_are_none_of_its_kind(guarded):
    with client(guarded, guarded.key) as known:
        with pytest.raises(openai.NotFoundError, match="nobody"):
            known.chat.completions.create(model="nobody", messages=HELLO)
        with pytest.raises(openai.BadRequestError, match="iris"):
            known.chat.completions.create(model="iris", messages=HELLO)
        assert list(known.models.list()) == []


def test_what_is_not_built_is_not_tried_again(guarded):
    with client(guarded, guarded.key) as known:
        with pytest.raises(openai.InternalServerError) as caught:
            known.embeddings.create(model="iris", input="a")
        assert caught.value.status_code == 501
        assert caught.value.response.headers["x-should-retry"] == "false"
