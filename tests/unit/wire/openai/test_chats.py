from __future__ import annotations

import json

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import ChatPrompt, Grammar

PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Say hello"}]
ASK = {"model": "gpt-4o-mini", "messages": HELLO}


def asked(talker):
    [call] = talker.author.asked
    assert isinstance(call.request.prompt, ChatPrompt)
    return call.request


async def test_an_answer(talker):
    got = await talker.say(PATH, ASK, x_request_id="order-1")
    assert got.headers["maas-model"] == "assistant:1"
    assert got.headers["x-request-id"] == "order-1"
    answer = got.json
    assert answer.pop("id").startswith("chatcmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer.pop("system_fingerprint").startswith("fp_")
    assert answer == {
        "object": "chat.completion",
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello 你好", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 4,
            "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


async def test_a_stream_to_the_letter(talker):
    got = await talker.say(PATH, {**ASK, "stream": True})
    chunks = got.chunks
    assert len({(one["id"], one["created"]) for one in chunks}) == 1
    assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
    assert {one["model"] for one in chunks} == {"gpt-4o-mini"}
    assert all("usage" not in one for one in chunks)
    choices = [one["choices"][0] for one in chunks]
    assert [one["delta"] for one in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {"content": " 你"},
        {"content": "好"},
        {},
    ]
    assert [one["finish_reason"] for one in choices] == [None] * 5 + ["stop"]
    assert all(one["logprobs"] is None for one in choices)


async def test_the_usage_of_a_stream(talker):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = (await talker.say(PATH, {**ASK, **options})).chunks
    assert all(one["usage"] is None and one["choices"] for one in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 4


async def test_choices_interleave(talker):
    got = await talker.say(PATH, {**ASK, "n": 3, "stream": True})
    found = {}
    for chunk in got.chunks:
        [choice] = chunk["choices"]
        found.setdefault(choice["index"], []).append(choice)
    for index in range(3):
        choices = found[index]
        assert choices[0]["delta"]["role"] == "assistant"
        assert "".join(one["delta"].get("content", "") for one in choices) == "Hello 你好"
        assert choices[-1]["finish_reason"] == "stop"
    got = await talker.say(PATH, {**ASK, "n": 3})
    assert [one["index"] for one in got.json["choices"]] == [0, 1, 2]


async def test_logprobs(talker):
    asks = {**ASK, "model": "easy", "logprobs": True, "max_completion_tokens": 1}
    got = await talker.say(PATH, asks)
    entry = {"token": "Hel", "logprob": -0.5, "bytes": [72, 101, 108], "top_logprobs": []}
    assert got.json["choices"][0]["logprobs"] == {"content": [entry], "refusal": None}
    chunks = (await talker.say(PATH, {**asks, "stream": True})).chunks
    told = [one["choices"][0]["logprobs"] for one in chunks]
    assert told == [None, {"content": [entry], "refusal": None}, None]


async def test_the_limit_of_tokens_under_both_names(talker):
    for limits in ({"max_tokens": 2}, {"max_completion_tokens": 2, "max_tokens": 3}):
        got = await talker.say(PATH, {**ASK, **limits})
        assert got.json["choices"][0]["finish_reason"] == "length"
        assert talker.author.asked[-1].request.sampling.max_tokens == 2
    await talker.say(PATH, ASK)
    assert talker.author.asked[-1].request.sampling.max_tokens is None


async def test_messages_as_templates_read_them(talker):
    messages = [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"},
                                                     {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "f", "arguments": '{"x": [1, "你"]}'}},
            {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "7"},
        {"role": "assistant", "refusal": "no", "content": None, "reasoning_content": "hm"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]  # fmt: skip
    variables = {"enable_thinking": False}
    got = await talker.say(
        PATH, {**ASK, "messages": messages, "chat_template_kwargs": variables, "store": True,
               "metadata": {"a": "b"}, "service_tier": "auto", "modalities": ["text"]}
    )  # fmt: skip
    assert got.status == 200, got.body
    prompt = asked(talker).prompt
    assert json.loads(prompt.variables) == variables
    assert prompt.tools == b""
    assert json.loads(prompt.messages) == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "ab", "name": "ann"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "f", "arguments": {"x": [1, "你"]}}},
            {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": {}}},
        ]},
        {"role": "tool", "content": "7", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "no", "reasoning_content": "hm"},
        {"role": "assistant", "content": "no"},
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["{", "[]", '{"city":"Paris","n', "7"])
async def test_arguments_that_a_model_wrote_badly_stay_as_they_are(talker, text):
    call = {**CALL, "function": {"name": "f", "arguments": text}}
    messages = [{"role": "assistant", "tool_calls": [call]}, {**ANSWERED, "content": "not JSON"}]
    got = await talker.say(PATH, {**ASK, "messages": messages})
    assert got.status == 200, got.body
    [told, _] = json.loads(asked(talker).prompt.messages)
    assert told["tool_calls"][0]["function"]["arguments"] == text


@pytest.mark.parametrize(
    ("wanted", "grammar"),
    [({"type": "text"}, None), ({"type": "json_object"}, Grammar()), (None, None)],
)
async def test_a_response_format(talker, wanted, grammar):
    await talker.say(PATH, {**ASK, "response_format": wanted})
    assert asked(talker).grammar == grammar


async def test_a_schema(talker):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    described = {"name": "x", "strict": True, "schema": schema}
    wanted = {"type": "json_schema", "json_schema": described}
    got = await talker.say(PATH, {**ASK, "response_format": wanted})
    assert got.status == 200, got.body
    kept = json.loads(asked(talker).grammar.schema)
    assert kept["properties"]["a"]["type"] == "integer"


ANSWERED = {"role": "tool", "tool_call_id": "c"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
WRONG = {
    "messages": [None, [], "hi", {}],
    "messages[0]": [[7]],
    "messages[0].role": [[{"content": "x"}], [{"role": "boss", "content": "x"}],
                         [{"role": "function", "content": "x"}], [{"role": 7, "content": "x"}]],
    "messages[0].content": [[{"role": "user"}], [{"role": "user", "content": 7}],
                            [{"role": "tool", "tool_call_id": "x", "content": None}],
                            [{"role": "user", "content": [{"type": "text", "text": ""}] * 1025}]],
    "messages[0].content[1].type": [
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": kind}]}]
        for kind in ("image_url", "input_audio", "file", "nothing", None, 7)
    ],
    "messages[0].content[0]": [[{"role": "user", "content": ["a"]}]],
    "messages[0].content[0].text": [[{"role": "user", "content": [{"type": "text"}]}]],
    "messages[0].tool_call_id": [[{"role": "tool", "content": "x"}]],
    "messages[0].name": [[{"role": "user", "content": "x", "name": 7}]],
    "messages[0].tool_calls": [[{"role": "assistant", "tool_calls": 7}],
                               [{"role": "assistant", "tool_calls": [CALL] * 129}]],
    "messages[0].tool_calls[0]": [[{"role": "assistant", "tool_calls": [7]}]],
    "messages[0].tool_calls[0].function.name": [
        [{"role": "assistant", "tool_calls": [{**CALL, "function": {"arguments": "{}"}}]}]],
    "messages[0].tool_calls[0].function.arguments": [
        [{"role": "assistant", "tool_calls": [
            {**CALL, "function": {"name": "f", "arguments": arguments}}]}]
        for arguments in (7, ["{}"], True)],
    "messages[0].function_call": [[{"role": "assistant", "function_call": {"name": "f"}}]],
}  # fmt: skip


@pytest.mark.parametrize(("param", "value"), [(p, v) for p, vs in WRONG.items() for v in vs])
async def test_what_is_wrong_with_messages_is_named(talker, param, value):
    got = await talker.say(PATH, {**ASK, "messages": value})
    assert got.status == 400, got.body
    assert got.json["error"]["param"] == param
    assert talker.author.asked == []


OTHERS = {
    "max_completion_tokens": [0, "x"],
    "max_tokens": [0],
    "top_logprobs": [3, 21],
    "logprobs": [3],
    "chat_template_kwargs": [{"messages": []}, {"a b": 1}, 7],
    "modalities": [["text", "audio"]],
    "n": [0, 129],
    "response_format": [{"type": "json_schema"}, {"type": "x"}, {"type": "json_schema",
                         "json_schema": {"schema": {"type": "nothing"}}}],
    "parallel_tool_calls": ["x"],
}  # fmt: skip


@pytest.mark.parametrize(("param", "value"), [(p, v) for p, vs in OTHERS.items() for v in vs])
async def test_what_is_wrong_is_named(talker, param, value):
    got = await talker.say(PATH, {**ASK, param: value})
    assert got.status == 400, got.body
    assert got.json["error"]["param"].partition(".")[0] == param
    assert talker.author.asked == []


async def test_a_model_without_a_chat_template(talker):
    got = await talker.say(PATH, {**ASK, "model": "base"})
    assert got.status == 400
    assert got.json["error"]["param"] == "messages"
    assert "/v1/completions" in got.json["error"]["message"]


async def test_a_conversation_beyond_the_context(talker):
    talker.author.before[0] = MaasError(ErrorKind.CONTEXT_EXCEEDED, "the prompt has 99 tokens")
    error = (await talker.say(PATH, ASK)).json["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert error["type"] == "invalid_request_error"
