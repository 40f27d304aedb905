"""OpenAI's client, as it is in 2.x and 3.x alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import openai
from harness import KEY, raises, run
from openai import OpenAI
from pydantic import BaseModel

ASSISTANT = "assistant"
OTHER = "assistant-llamacpp"
"""The same weights in an engine that has what the first lacks."""
HELLO: Any = [{"role": "user", "content": "Hello, how are you?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Paris", "大连"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK: Any = {"type": "function", "function": {"name": "clock", "parameters": {}}}
SEEDS = range(20)
"""Random weights may write blanks until there are no tokens left; then another seed is tried."""


class Weather(BaseModel):
    """An answer that is parsed."""

    city: Literal["Paris", "大连"]
    days: int
    rain: bool | None


def ended(make: Any) -> Any:
    """The first answer, of several seeds, that ended by itself."""
    for seed in SEEDS:
        found = make(seed)
        if found is not None and found.choices[0].finish_reason != "length":
            return found
    raise AssertionError("none of them ended")


def check_completion(client: OpenAI) -> None:
    """OPENAI: `POST /v1/chat/completions`: id, object, created, model, choices, usage"""
    answer = client.chat.completions.create(
        model=ASSISTANT, messages=HELLO, max_tokens=6, temperature=0, user="me", store=False
    )
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == ASSISTANT
    assert answer.created > 0
    assert answer.system_fingerprint
    (choice,) = answer.choices
    assert choice.index == 0
    assert choice.message.role == "assistant"
    assert isinstance(choice.message.content, str)
    assert choice.finish_reason == "length"
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens == 6
    assert usage.total_tokens == usage.prompt_tokens + 6
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 0


def check_cached(client: OpenAI) -> None:
    """OPENAI: `usage.prompt_tokens_details.cached_tokens`: the prefix that was known"""
    long: Any = [{"role": "user", "content": "The quick brown fox. " * 60}]
    for _ in range(2):
        answer = client.chat.completions.create(model=ASSISTANT, messages=long, max_tokens=1)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens < answer.usage.prompt_tokens


def check_stream(client: OpenAI) -> None:
    """OPENAI: `stream: true`: chunks of one id, the role first, the reason last"""
    chunks = list(
        client.chat.completions.create(
            model=ASSISTANT, messages=HELLO, max_tokens=8, temperature=0, stream=True
        )
    )
    assert len({(chunk.id, chunk.created, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].object == "chat.completion.chunk"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "length"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1])
    assert all(chunk.usage is None for chunk in chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    whole = client.chat.completions.create(
        model=ASSISTANT, messages=HELLO, max_tokens=8, temperature=0
    )
    assert text == whole.choices[0].message.content


def check_stream_usage(client: OpenAI) -> None:
    """OPENAI: `stream_options.include_usage`: one more chunk, without choices"""
    *chunks, last = client.chat.completions.create(
        model=ASSISTANT,
        messages=HELLO,
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 4
    assert all(chunk.usage is None for chunk in chunks)


def check_stream_helper(client: OpenAI) -> None:
    """OPENAI: the client's `chat.completions.stream()` collects deltas into the whole answer"""
    with client.chat.completions.stream(
        model=ASSISTANT, messages=HELLO, max_tokens=400, seed=1, stop=["e", "a", "o", "i"]
    ) as stream:
        events = list(stream)
        whole = stream.get_final_completion()
    assert {"chunk", "content.delta"} <= {event.type for event in events}
    text = "".join(event.delta for event in events if event.type == "content.delta")
    assert whole.choices[0].message.content == text


def check_abandoned(client: OpenAI) -> None:
    """OPENAI: a stream that is closed early ends; the next call is answered"""
    stream = client.chat.completions.create(
        model=ASSISTANT, messages=HELLO, max_tokens=1500, stream=True
    )
    for _ in zip(range(3), stream, strict=False):
        pass
    stream.close()
    assert client.chat.completions.create(model=ASSISTANT, messages=HELLO, max_tokens=1)


def check_choices(client: OpenAI) -> None:
    """OPENAI: `n`: several choices, of one prompt, streamed together"""
    answer = client.chat.completions.create(
        model=ASSISTANT, messages=HELLO, max_tokens=12, n=3, seed=3
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 36
    chunks = client.chat.completions.create(
        model=ASSISTANT, messages=HELLO, max_tokens=4, n=2, stream=True
    )
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}


def check_seed(client: OpenAI) -> None:
    """OPENAI: `seed`: the same gives the same; without one answers differ"""

    def text(**more: Any) -> str | None:
        answer = client.chat.completions.create(
            model=ASSISTANT, messages=HELLO, max_tokens=16, temperature=1.5, **more
        )
        return answer.choices[0].message.content

    assert text(seed=7) == text(seed=7)
    assert len({text() for _ in range(4)}) > 1


def check_sampling(client: OpenAI) -> None:
    """OPENAI: temperature, top_p, penalties, `max_completion_tokens`; vLLM's top_k, min_p"""
    answer = client.chat.completions.create(
        model=ASSISTANT,
        messages=HELLO,
        max_completion_tokens=5,
        temperature=0.7,
        top_p=0.9,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        extra_body={
            "top_k": 5,
            "min_p": 0.05,
            "repetition_penalty": 1.1,
            "ignore_eos": True,
            "stop_token_ids": [],
        },
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


def check_stop(client: OpenAI) -> None:
    """OPENAI: `stop`: the text ends before it, and the reason is stop"""
    whole = client.completions.create(
        model=ASSISTANT, prompt="Hello world", max_tokens=24, temperature=0
    ).choices[0]
    end = next(char for char in whole.text[4:] if char.isprintable())
    cut = client.completions.create(
        model=ASSISTANT, prompt="Hello world", max_tokens=24, temperature=0, stop=[end]
    ).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.text == whole.text.partition(end)[0]


def check_logprobs(client: OpenAI) -> None:
    """OPENAI: `logprobs`: token, logprob, bytes; `top_logprobs` is 400 where they lack"""
    answer = client.chat.completions.create(
        model=ASSISTANT,
        messages=HELLO,
        max_tokens=5,
        logprobs=True,
        extra_body={"ignore_eos": True},
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 5
    for token in logprobs.content:
        assert token.logprob <= 0
        assert token.bytes is not None
        assert token.top_logprobs == []
    raises(
        openai.BadRequestError,
        "top_logprobs",
        lambda: client.chat.completions.create(
            model=ASSISTANT, messages=HELLO, logprobs=True, top_logprobs=2
        ),
    )


def check_top_logprobs(client: OpenAI) -> None:
    """OPENAI: `top_logprobs`, likeliest first, from llama.cpp"""
    answer = client.chat.completions.create(
        model=OTHER, messages=HELLO, max_tokens=3, logprobs=True, top_logprobs=4, temperature=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    for token in logprobs.content:
        top = [one.logprob for one in token.top_logprobs]
        assert len(top) == 4
        assert top == sorted(top, reverse=True)
        assert token.token == token.top_logprobs[0].token


def check_logit_bias(client: OpenAI) -> None:
    """OPENAI: `logit_bias`, from llama.cpp; 400 naming it for an engine that lacks it"""
    bias = {"20": 100}
    answer = client.chat.completions.create(
        model=OTHER, messages=HELLO, max_tokens=4, logit_bias=bias, logprobs=True
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len({token.token for token in logprobs.content}) == 1
    error = raises(
        openai.BadRequestError,
        "logit_bias",
        lambda: client.chat.completions.create(model=ASSISTANT, messages=HELLO, logit_bias=bias),
    )
    assert error.param == "logit_bias"


def check_json(client: OpenAI) -> None:
    """OPENAI: `response_format: json_object`: the answer is an object"""

    def make(seed: int) -> Any:
        return client.chat.completions.create(
            model=ASSISTANT,
            messages=HELLO,
            response_format={"type": "json_object"},
            max_tokens=200,
            seed=seed,
        )

    assert isinstance(json.loads(ended(make).choices[0].message.content), dict)


def check_schema(client: OpenAI) -> None:
    """OPENAI: `response_format: json_schema`, also with a schema that refers to itself"""
    node = {
        "type": "object",
        "properties": {
            "value": {"enum": ["a", "b"]},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        },
        "required": ["value", "next"],
        "additionalProperties": False,
    }
    wanted: Any = {
        "name": "list",
        "strict": True,
        "schema": {"$ref": "#/$defs/node", "$defs": {"node": node}},
    }

    def make(seed: int) -> Any:
        return client.chat.completions.create(
            model=ASSISTANT,
            messages=HELLO,
            response_format={"type": "json_schema", "json_schema": wanted},
            max_tokens=300,
            seed=seed,
        )

    read = json.loads(ended(make).choices[0].message.content)
    while read is not None:
        assert read["value"] in ("a", "b")
        read = read["next"]


def check_parse(client: OpenAI) -> None:
    """OPENAI: the client's `chat.completions.parse()` with a pydantic model"""

    def make(seed: int) -> Any:
        try:
            return client.chat.completions.parse(
                model=ASSISTANT,
                messages=HELLO,
                response_format=Weather,
                max_tokens=200,
                seed=seed,
            )
        except openai.LengthFinishReasonError:
            return None

    assert isinstance(ended(make).choices[0].message.parsed, Weather)


def check_impossible_schemas(client: OpenAI) -> None:
    """OPENAI: a schema that nothing meets, that is no schema or that refers elsewhere is 400"""
    for schema in (
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"$ref": "#"},
        {"$ref": "http://127.0.0.1/a.json"},
        {"type": "string", "pattern": "(?=a)"},
        {"type": "text"},
    ):
        error = raises(
            openai.BadRequestError,
            "",
            lambda schema=schema: client.chat.completions.create(
                model=ASSISTANT,
                messages=HELLO,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": schema},
                },
            ),
        )
        assert error.param == "response_format.json_schema.schema"


def check_tool_named(client: OpenAI) -> None:
    """OPENAI: `tool_choice` names a function: it is called, its arguments are of its schema"""

    def make(seed: int) -> Any:
        return client.chat.completions.create(
            model=ASSISTANT,
            messages=HELLO,
            tools=[CLOCK, WEATHER],
            tool_choice={"type": "function", "function": {"name": "weather"}},
            max_tokens=200,
            seed=seed,
        )

    (choice,) = ended(make).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert call.id.startswith("call_")
    assert call.type == "function"
    assert call.function.name == "weather"
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in ("Paris", "大连")
    assert 1 <= arguments["days"] <= 9


def check_tool_required(client: OpenAI) -> None:
    """OPENAI: `tool_choice: required` without `parallel_tool_calls`: one call of some function"""

    def make(seed: int) -> Any:
        return client.chat.completions.create(
            model=ASSISTANT,
            messages=HELLO,
            tools=[CLOCK, WEATHER],
            tool_choice="required",
            parallel_tool_calls=False,
            max_tokens=300,
            seed=seed,
        )

    (call,) = ended(make).choices[0].message.tool_calls
    assert call.function.name in ("weather", "clock")
    assert isinstance(json.loads(call.function.arguments), dict)


def check_tool_stream(client: OpenAI) -> None:
    """OPENAI: calls are streamed: the first delta has id and name, later ones parts of arguments"""

    class Whole:
        def __init__(self, chunks: list[Any]):
            self.chunks = chunks
            self.choices = [chunks[-1].choices[0]]

    def make(seed: int) -> Any:
        return Whole(
            list(
                client.chat.completions.create(
                    model=ASSISTANT,
                    messages=HELLO,
                    tools=[WEATHER],
                    tool_choice={"type": "function", "function": {"name": "weather"}},
                    max_tokens=200,
                    seed=seed,
                    stream=True,
                )
            )
        )

    whole = ended(make)
    assert whole.choices[0].finish_reason == "tool_calls"
    calls = [call for chunk in whole.chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert {call.index for call in calls} == {0}
    assert calls[0].id
    assert calls[0].type == "function"
    assert calls[0].function.name == "weather"
    assert all(call.id is None for call in calls[1:])
    assert len(calls) > 2
    arguments = json.loads("".join(call.function.arguments or "" for call in calls))
    assert set(arguments) == {"city", "days"}


def check_tool_results(client: OpenAI) -> None:
    """OPENAI: a conversation with calls and their results goes on, with `tool_choice: auto`"""
    called: Any = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Paris", "days": 1}'},
            }
        ],
    }
    result: Any = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    answer = client.chat.completions.create(
        model=ASSISTANT, messages=[*HELLO, called, result], tools=[WEATHER], max_tokens=4
    )
    assert answer.choices[0].message.role == "assistant"


def check_text(client: OpenAI) -> None:
    """OPENAI: `POST /v1/completions`: texts, lists of them, tokens; `echo`; `logprobs`"""
    one = client.completions.create(
        model=ASSISTANT,
        prompt="Hello",
        max_tokens=3,
        echo=True,
        logprobs=0,
        extra_body={"ignore_eos": True},
    )
    assert one.object == "text_completion"
    (choice,) = one.choices
    assert choice.text.startswith("Hello")
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert "".join(choice.logprobs.tokens[:-3]) == "Hello"
    assert choice.logprobs.token_logprobs is not None
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.text_offset is not None
    assert choice.logprobs.text_offset[0] == 0
    several = client.completions.create(
        model=ASSISTANT, prompt=["Hello", "Well"], max_tokens=2, n=2
    )
    assert [one.index for one in several.choices] == [0, 1, 2, 3]
    tokens = client.completions.create(model=ASSISTANT, prompt=[[1, 2], [3]], max_tokens=2)
    assert len(tokens.choices) == 2
    assert tokens.usage is not None
    assert tokens.usage.prompt_tokens == 3


def check_text_stream(client: OpenAI) -> None:
    """OPENAI: `POST /v1/completions` with `stream: true`"""
    chunks = list(
        client.completions.create(
            model=ASSISTANT, prompt="Hello", max_tokens=4, temperature=0, stream=True
        )
    )
    whole = client.completions.create(model=ASSISTANT, prompt="Hello", max_tokens=4, temperature=0)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"


def check_models(client: OpenAI) -> None:
    """OPENAI: `GET /v1/models` and `/v1/models/{id}`: language models and their served names"""
    found = {model.id: model for model in client.models.list()}
    assert {ASSISTANT, OTHER, "gpt-4o-mini"} <= found.keys()
    assert "iris" not in found
    one = client.models.retrieve(ASSISTANT)
    assert one.object == "model"
    assert one.created == found[ASSISTANT].created
    assert one.owned_by
    raises(openai.NotFoundError, "404", lambda: client.models.retrieve("nobody"))


def check_served_name(client: OpenAI) -> None:
    """OPENAI: a served name answers, and stands in `model`; `NAME:VERSION` does as well"""
    for name in ("gpt-4o-mini", f"{ASSISTANT}:1"):
        answer = client.chat.completions.create(model=name, messages=HELLO, max_tokens=1)
        assert answer.model == name


def check_headers(client: OpenAI) -> None:
    """OPENAI: `x-request-id`, which the client gives as `_request_id`; `with_raw_response`"""
    raw = client.chat.completions.with_raw_response.create(
        model=ASSISTANT, messages=HELLO, max_tokens=1
    )
    answer = raw.parse()
    assert raw.headers["x-request-id"] == answer._request_id
    assert raw.headers["content-type"] == "application/json"


def check_not_found(client: OpenAI) -> None:
    """OPENAI: an unknown model is 404 `model_not_found`"""
    error = raises(
        openai.NotFoundError,
        "nobody",
        lambda: client.chat.completions.create(model="nobody", messages=HELLO),
    )
    assert error.code == "model_not_found"
    assert error.type == "invalid_request_error"


def check_bad_request(client: OpenAI) -> None:
    """OPENAI: wrong types and ranges are 400 `invalid_request_error` naming `param`"""
    wrong: dict[str, Any] = {
        "temperature": 3,
        "top_p": "much",
        "n": 0,
        "max_tokens": -1,
        "presence_penalty": 9,
        "stop": [1],
        "seed": "a",
        "logit_bias": {"a": 1},
        "stream": "yes",
        "tools": {},
        "messages": [],
    }
    for param, value in wrong.items():
        error = raises(
            openai.BadRequestError,
            param,
            lambda param=param, value=value: client.chat.completions.create(
                **{"model": ASSISTANT, "messages": HELLO, param: value}
            ),
        )
        assert error.type == "invalid_request_error"
        assert error.param is not None
        assert error.param.startswith(param)


def check_unknown_parameters(client: OpenAI) -> None:
    """OPENAI: unknown parameters pass"""
    assert client.chat.completions.create(
        model=ASSISTANT, messages=HELLO, max_tokens=1, extra_body={"what": {"is": "this"}}
    )


def check_context(client: OpenAI) -> None:
    """OPENAI: a prompt beyond the context is 400 `context_length_exceeded`"""
    long: Any = [{"role": "user", "content": "The quick brown fox. " * 2000}]
    error = raises(
        openai.BadRequestError,
        "context",
        lambda: client.chat.completions.create(model=ASSISTANT, messages=long),
    )
    assert error.code == "context_length_exceeded"
    assert error.param == "messages"


def check_no_language_model(client: OpenAI) -> None:
    """OPENAI: a model of another kind is 400, which says how it is called"""
    raises(
        openai.BadRequestError,
        "iris",
        lambda: client.chat.completions.create(model="iris", messages=HELLO),
    )


def check_images(client: OpenAI) -> None:
    """OPENAI: contents in parts: texts are joined, images are 400"""
    parts: Any = [{"type": "text", "text": "Hello, "}, {"type": "text", "text": "how are you?"}]
    joined: Any = [{"role": "user", "content": parts}]
    first = client.chat.completions.create(
        model=ASSISTANT, messages=joined, max_tokens=6, temperature=0
    )
    second = client.chat.completions.create(
        model=ASSISTANT, messages=HELLO, max_tokens=6, temperature=0
    )
    assert first.choices[0].message.content == second.choices[0].message.content
    image: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    raises(
        openai.BadRequestError,
        "image",
        lambda: client.chat.completions.create(
            model=ASSISTANT, messages=[{"role": "user", "content": [image]}]
        ),
    )


def check_embeddings(client: OpenAI) -> None:
    """OPENAI: `POST /v1/embeddings`, `POST /v1/responses`
    Reason: they come with a later release
    Instead: 501, which says so
    """
    quick = client.with_options(max_retries=0)
    for call in (
        lambda: quick.embeddings.create(model=ASSISTANT, input="a"),
        lambda: quick.responses.create(model=ASSISTANT, input="a"),
    ):
        assert raises(openai.InternalServerError, "", call).status_code == 501


@contextmanager
def connect(address: str) -> Iterator[OpenAI]:
    """Opens it."""
    with OpenAI(base_url=f"http://{address}/v1", api_key=KEY, max_retries=1) as client:
        yield client


if __name__ == "__main__":
    run(globals(), connect)
