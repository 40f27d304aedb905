"""LangChain's ChatOpenAI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import openai
from harness import KEY, raises, run
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, Field

HELLO = [SystemMessage("Be brief."), HumanMessage("Hello, how are you?")]
SEEDS = range(20)
"""Random weights may write blanks until there are no tokens left; then another seed is tried."""


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Paris", "大连"]
    days: int = Field(ge=1, le=9)


@tool
def weather(city: Literal["Paris", "大连"], rain: bool) -> str:
    """The weather of a city."""
    return f"{city}: {rain}"


class Models:
    """Makes chat models of one server."""

    def __init__(self, address: str):
        self.about: dict[str, Any] = {
            "base_url": f"http://{address}/v1",
            "api_key": KEY,
            "model": "assistant",
        }

    def chat(self, **more: Any) -> ChatOpenAI:
        return ChatOpenAI(**self.about, **{"max_tokens": 6, **more})


def check_invoke(models: Models) -> None:
    """OPENAI: `invoke`, with usage and the reason of its end"""
    answer = models.chat(temperature=0).invoke(HELLO)
    assert isinstance(answer, AIMessage)
    assert answer.response_metadata["finish_reason"] == "length"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 6


def check_stream(models: Models) -> None:
    """OPENAI: `stream`: chunks that add up to the answer"""
    model = models.chat(temperature=0, stream_usage=True)
    chunks = list(model.stream(HELLO))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == model.invoke(HELLO).content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 6


def check_batch(models: Models) -> None:
    """OPENAI: `batch`: several conversations at once"""
    assert len(models.chat().batch([HELLO, HELLO, HELLO])) == 3


def check_bind_tools(models: Models) -> None:
    """OPENAI: `bind_tools` with `tool_choice`; the result goes back as a ToolMessage"""
    for seed in SEEDS:
        model = models.chat(seed=seed, max_tokens=200)
        answer = model.bind_tools([weather], tool_choice="weather").invoke(HELLO)
        if answer.response_metadata["finish_reason"] == "tool_calls":
            break
    (call,) = answer.tool_calls
    assert call["name"] == "weather"
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert models.chat().bind_tools([weather]).invoke([*HELLO, answer, result])


def check_structured(models: Models) -> None:
    """OPENAI: `with_structured_output`, by a JSON schema and by calling a function"""
    for method in ("json_schema", "function_calling"):
        for seed in SEEDS:
            model = models.chat(seed=seed, max_tokens=200)
            try:
                found = model.with_structured_output(Weather, method=method).invoke(HELLO)
            except (openai.LengthFinishReasonError, ValueError):
                continue  # cut off
            if found is not None:
                break
        assert isinstance(found, Weather), method


def check_text(models: Models) -> None:
    """OPENAI: the completion model `OpenAI`"""
    assert isinstance(OpenAI(**models.about, max_tokens=4).invoke("Hello"), str)


def check_error(models: Models) -> None:
    """OPENAI: errors are the openai package's"""
    models.about["model"] = "nobody"
    try:
        raises(openai.NotFoundError, "nobody", lambda: models.chat().invoke(HELLO))
    finally:
        models.about["model"] = "assistant"


@contextmanager
def connect(address: str) -> Iterator[Models]:
    """Makes them."""
    yield Models(address)


if __name__ == "__main__":
    run(globals(), connect)
