"""What OpenAI's protocol says of bytes, headers and bodies, over HTTP, with requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.server import Server, serving

rule = pytest.mark.rule
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
HELLO = [{"role": "user", "content": "你好,世界。"}]
BODY: dict[str, Any] = {"model": "assistant", "messages": HELLO, "max_tokens": 24}


def refused(answer: Any, status: int = 400, *, param: str | None = None) -> dict[str, Any]:
    """Checks an error's shape: all four keys, of their types."""
    assert answer.status_code == status, answer.text
    (error,) = answer.json().values()
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    if param is not None:
        assert error["param"] == param
    return error


def frames(place: Server, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, whose bytes are checked."""
    answer = place.post(path, {**body, "stream": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert "content-encoding" not in answer.headers
    text = answer.content.decode()
    assert text.endswith("data: [DONE]\n\n")
    *events, done, empty = text.split("\n\n")
    assert (done, empty) == ("data: [DONE]", "")
    assert all(event.startswith("data: {") and "\n" not in event for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events]


@rule("OPENAI", "streams are `data: {…}` and a blank line each, ended by `data: [DONE]`")
@pytest.mark.parametrize(("path", "asked"), [(CHAT, {}), (TEXT, {"prompt": "你好"})])
def test_frames(place, path, asked):
    events = frames(place, path, {**BODY, **asked})
    assert len({(event["id"], event["created"], event["model"]) for event in events}) == 1
    assert events[-1]["choices"][0]["finish_reason"] in ("length", "stop")
    assert not any("usage" in event for event in events)


@rule(
    "OPENAI", "with `include_usage` every chunk has `usage`: null until the last, without choices"
)
@pytest.mark.parametrize(("path", "asked"), [(CHAT, {}), (TEXT, {"prompt": "你好"})])
def test_usage(place, path, asked):
    *events, last = frames(
        place, path, {**BODY, **asked, "stream_options": {"include_usage": True}}
    )
    assert all(event["usage"] is None for event in events)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > last["usage"]["prompt_tokens"]


@rule("OPENAI", "a delta never ends inside a character: streamed texts add up, in any script")
def test_characters(place):
    for seed in range(6):
        body = {**BODY, "seed": seed, "temperature": 1.2, "max_tokens": 40}
        events = frames(place, CHAT, body)
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        whole = place.post(CHAT, body).json()["choices"][0]["message"]["content"]
        assert text == whole


@rule("OPENAI", "an error before the first delta has its status, a stream or not")
def test_early_errors(place):
    refused(place.post(CHAT, {**BODY, "temperature": 5, "stream": True}), param="temperature")
    long = [{"role": "user", "content": "你好" * 9000}]
    error = refused(place.post(CHAT, {**BODY, "messages": long, "stream": True}))
    assert error["code"] == "context_length_exceeded"


@rule("OPENAI", "errors are `{error: {message, type, param, code}}`, all four always")
def test_errors(place):
    error = refused(place.post(CHAT, {**BODY, "model": "nobody"}), 404, param="model")
    assert error["code"] == "model_not_found"
    refused(place.post(CHAT, {"model": "assistant"}), param="messages")
    refused(place.post(TEXT, {"model": "assistant", "prompt": {}}), param="prompt")
    refused(place.get(CHAT), 405)


@rule("OPENAI", "a body that is no JSON object, is no UTF-8 or is nested too deep is 400")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": "assistant", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "assistant", "temperature": NaN, "messages": []}',
        b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_bodies(place, body):
    refused(place.post(CHAT, body, headers={"content-type": "application/json"}))


@rule("OPENAI", "an unknown or missing key is 401 `invalid_api_key`, where keys are required")
def test_keys(tmp_path):
    with serving(tmp_path / "home", "uvicorn", MAAS_AUTH="required") as guarded:
        for path in (CHAT, TEXT):
            for headers in ({}, {"authorization": "Bearer wrong"}):
                error = refused(guarded.post(path, BODY, headers=headers), 401)
                assert error["code"] == "invalid_api_key"
        known = {"authorization": f"Bearer {guarded.key}"}
        assert refused(guarded.post(CHAT, BODY, headers=known), 404)["param"] == "model"


@rule("OPENAI", "`tools`: names, counts and schemas are checked; `functions` is 400 naming `tools`")
def test_tools(place):
    def tool(**function: Any) -> dict[str, Any]:
        return {"type": "function", "function": {"name": "f", **function}}

    wrong: list[tuple[dict[str, Any], str]] = [
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"tools": [tool(name="a b")]}, "tools[0].function.name"),
        ({"tools": [tool()] * 129}, "tools"),
        ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"),
        ({"tools": [tool(parameters={"a": "b" * 70_000})]}, "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [tool(parameters={"properties": {"a": False}})], "tool_choice": "required"},
            "tools[0].function.parameters",
        ),
    ]
    for asked, param in wrong:
        refused(place.post(CHAT, {**BODY, **asked}), param=param)


@rule("OPENAI", "`suffix`, and `best_of` beyond `n`, are 400")
def test_not_there(place):
    for asked in ({"suffix": "a"}, {"best_of": 3}):
        body = {"model": "assistant", "prompt": "a", "max_tokens": 1, **asked}
        refused(place.post(TEXT, body), param=next(iter(asked)))


@rule("OPENAI", "`maas-dropped-params` names what was left out, of a model that is so published")
def test_dropped(place):
    asked = {**BODY, "max_tokens": 2, "logit_bias": {"5": 1}}
    answer = place.post(CHAT, {**asked, "model": "assistant-lenient"})
    assert answer.status_code == 200
    assert answer.headers["maas-dropped-params"] == "logit_bias"
    refused(place.post(CHAT, asked), param="logit_bias")


@rule("OPENAI", "`x-should-retry: false` with errors that a second try does not mend")
def test_retries(place):
    answer = place.post("/v1/embeddings", {"model": "assistant", "input": "a"})
    refused(answer, 501)
    assert answer.headers["x-should-retry"] == "false"


@rule("OPENAI", "`GET /v1/models`: language models in `data`; KServe's `models` beside it")
def test_models(place):
    listed = place.get("/v1/models").json()
    assert listed["object"] == "list"
    ids = [model["id"] for model in listed["data"]]
    assert {"assistant", "gpt-4o-mini"} <= set(ids)
    assert "iris" not in ids
    assert "iris" in listed["models"]
    assert all(
        {"id", "object", "created", "owned_by"} <= set(model) and model["object"] == "model"
        for model in listed["data"]
    )


@rule(
    "OPENAI",
    "`x-ratelimit-*`, and 429 `insufficient_quota`",
    reason="there are no budgets yet",
    instead="no such headers; 429 and `retry-after` when the queue is full",
)
def test_budgets(place):
    answer = place.post(CHAT, {**BODY, "max_tokens": 1})
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
