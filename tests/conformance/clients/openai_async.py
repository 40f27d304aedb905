"""OpenAI's asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from harness import KEY, run_async
from openai import AsyncOpenAI

ASSISTANT = "assistant"
HELLO: Any = [{"role": "user", "content": "你好,世界。今天天气怎么样?"}]


async def check_async_completion(client: AsyncOpenAI) -> None:
    """OPENAI: chat completions"""
    answer = await client.chat.completions.create(
        model=ASSISTANT,
        messages=HELLO,
        max_tokens=4,
        logprobs=True,
        extra_body={"ignore_eos": True},
    )
    assert answer.choices[0].logprobs is not None
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


async def check_async_streams(client: AsyncOpenAI) -> None:
    """OPENAI: many streams at once, some of them abandoned; each that is read is whole"""

    async def read(index: int) -> str:
        stream = await client.chat.completions.create(
            model=ASSISTANT, messages=HELLO, max_tokens=40, temperature=0, stream=True
        )
        text = ""
        async for chunk in stream:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
            if index % 2:
                await stream.close()
                return ""
        return text

    texts = await asyncio.gather(*(read(index) for index in range(16)))
    whole = await client.chat.completions.create(
        model=ASSISTANT, messages=HELLO, max_tokens=40, temperature=0
    )
    assert set(texts) == {"", whole.choices[0].message.content}


async def check_async_helper(client: AsyncOpenAI) -> None:
    """OPENAI: the client's `chat.completions.stream()`"""
    async with client.chat.completions.stream(
        model=ASSISTANT, messages=HELLO, max_tokens=400, seed=1, stop=["e", "a", "o", "i"]
    ) as stream:
        whole = await stream.get_final_completion()
    assert whole.choices[0].finish_reason == "stop"


async def check_async_text(client: AsyncOpenAI) -> None:
    """OPENAI: completions, streamed"""
    stream = await client.completions.create(
        model=ASSISTANT,
        prompt="Hello",
        max_tokens=4,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    reasons = [chunk.choices[0].finish_reason async for chunk in stream]
    assert reasons[-1] == "length"


async def check_async_models(client: AsyncOpenAI) -> None:
    """OPENAI: the list of models"""
    assert ASSISTANT in [model.id async for model in client.models.list()]


async def check_async_errors(client: AsyncOpenAI) -> None:
    """OPENAI: errors before a stream begins have their status"""
    error = None
    try:
        await client.chat.completions.create(
            model=ASSISTANT, messages=HELLO, temperature=9, stream=True
        )
    except openai.BadRequestError as raised:
        error = raised
    assert error is not None
    assert error.param == "temperature"


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[AsyncOpenAI]:
    """Opens it."""
    async with AsyncOpenAI(base_url=f"http://{address}/v1", api_key=KEY) as client:
        yield client


if __name__ == "__main__":
    run_async(globals(), connect)
