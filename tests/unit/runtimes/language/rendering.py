"""Rendering a chat template, and being refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.language.template import ChatTemplate

USER = {"role": "user", "content": "  What is <b>new</b> & 'good'? 你好 🙂 "}


def rendered(
    template: ChatTemplate,
    messages: Any = (USER,),
    tools: Any = None,
    seconds: float = 30,
    most: int = 1 << 20,
    **variables: Any,
) -> str:
    return template.render(messages, tools, variables, seconds=seconds, most=most)


def written(source: str, **others: Any) -> str:
    return rendered(ChatTemplate(source), **others)


def refusal(ask: Callable[[], Any]) -> str:
    with pytest.raises(MaasError) as caught:
        ask()
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert len(caught.value.message) < 700
    return caught.value.message
