from __future__ import annotations

import json

import pytest
from maas_test_openai import SPEC, plan_of
from msgspec.structs import replace

from maas.core.generation import Feature

PATH = "/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
HELLO = [{"role": "user", "content": "How is the weather?"}]
ASK = {"model": "assistant", "messages": HELLO, "tools": [TOOL]}
CALLS = [
    "Let me ", "see.\n<tool", '_call>\n{"name": "weather", "argu', 'ments": {"city": "北',
    '京"}}\n</tool_call>', '\n<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>',
]  # fmt: skip


async def test_calls_that_the_model_makes(talker):
    talker.author.tokens = CALLS
    got = await talker.say(PATH, ASK)
    [choice] = got.json["choices"]
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert message["content"].strip() == "Let me see."
    one, two = message["tool_calls"]
    assert one["id"].startswith("call_")
    assert one["id"] != two["id"]
    assert (one["type"], one["function"]["name"]) == ("function", "weather")
    assert json.loads(one["function"]["arguments"]) == {"city": "北京"}
    request = talker.author.asked[0].request
    assert request.special
    assert json.loads(request.prompt.tools)[0]["function"]["name"] == "weather"


async def test_calls_as_they_are_written(talker):
    talker.author.tokens = CALLS
    chunks = (await talker.say(PATH, {**ASK, "stream": True})).chunks
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[-1] == {
        "index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"
    }  # fmt: skip
    text = "".join(one["delta"].get("content") or "" for one in choices)
    assert text.strip() == "Let me see."
    calls: dict[int, list[dict[str, object]]] = {}
    for one in choices:
        for call in one["delta"].get("tool_calls", ()):
            calls.setdefault(call["index"], []).append(call)
    assert sorted(calls) == [0, 1]
    first, *rest = calls[0]
    assert first["id"].startswith("call_")
    assert first["function"] == {"name": "weather", "arguments": ""}
    assert first["type"] == "function"
    assert len(rest) > 1
    assert all(set(one) == {"index", "function"} for one in rest)
    whole = "".join(one["function"]["arguments"] for one in rest)
    assert json.loads(whole) == {"city": "北京"}


async def test_one_call_where_one_is_allowed(talker):
    talker.author.tokens = CALLS
    got = await talker.say(PATH, {**ASK, "parallel_tool_calls": False})
    assert len(got.json["choices"][0]["message"]["tool_calls"]) == 1


async def test_an_answer_without_a_call(talker):
    got = await talker.say(PATH, ASK)
    [choice] = got.json["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello 你好", "refusal": None}
    assert choice["finish_reason"] == "stop"


async def test_a_call_cut_short(talker):
    talker.author.tokens = CALLS
    got = await talker.say(PATH, {**ASK, "max_tokens": 4})
    [choice] = got.json["choices"]
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ({"type": "function", "function": {"name": "weather"}}, ['{"city":', ' "x"}']),
        ("required", ['[{"name": "weather", ', '"arguments": {"city": "x"}}]']),
    ],
)
async def test_a_call_that_is_demanded(talker, choice, written):
    talker.author.tokens = written
    got = await talker.say(PATH, {**ASK, "tool_choice": choice})
    [choice] = got.json["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "x"}
    request = talker.author.asked[0].request
    assert "city" in request.grammar.schema
    assert not request.special


async def test_no_call_where_none_is_wanted(talker):
    talker.author.tokens = CALLS
    got = await talker.say(PATH, {**ASK, "tool_choice": "none"})
    assert "tool_call>" in got.json["choices"][0]["message"]["content"]
    assert talker.author.asked[0].request.prompt.tools == b""


async def test_tools_and_a_format_do_not_go_together(talker):
    both = {**ASK, "response_format": {"type": "json_object"}}
    got = await talker.say(PATH, both)
    assert got.status == 400
    assert got.json["error"]["param"] == "response_format"
    assert (await talker.say(PATH, {**both, "tool_choice": "none"})).status == 200


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("tools", 7),
        ("tools[0]", [7]),
        ("tools[0].function.name", [{"type": "function", "function": {"name": "a b"}}]),
        ("tool_choice", "sometimes"),
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
    ],
)
async def test_what_is_wrong_is_named(talker, param, value):
    got = await talker.say(PATH, {**ASK, param.partition("[")[0]: value})
    assert got.status == 400
    assert got.json["error"]["param"] == param


@pytest.mark.parametrize("drops", [False, True])
async def test_a_model_that_was_not_taught_to_call(talker, drops):
    lacks = (Feature.TOOLS, Feature.JSON_SCHEMA)
    spec = replace(SPEC, tool_format="", lacks=lacks, drop_params=drops, served_names=())
    await talker.router.follow(plan_of(assistant=spec))
    talker.author.tokens = CALLS
    for choice, params in (("auto", "tools"), ("required", "tool_choice, tools")):
        got = await talker.say(PATH, {**ASK, "tool_choice": choice})
        if drops:
            assert got.headers["maas-dropped-params"] == params
            assert "tool_calls" not in got.json["choices"][0]["message"]
            request = talker.author.asked[-1].request
            assert (request.prompt.tools, request.grammar, request.special) == (b"", None, False)
        else:
            assert got.status == 400
            assert got.json["error"]["param"] == "tools"


async def test_what_a_demanded_call_holds_is_no_text_to_stop_at(talker):
    talker.author.tokens = ['{"city": "', "Par", 'is"}']
    chosen = {"type": "function", "function": {"name": "weather"}}
    got = await talker.say(
        PATH, {**ASK, "tool_choice": chosen, "stop": ["is", '"'], "stop_token_ids": [5]}
    )
    [choice] = got.json["choices"]
    [call] = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    sampling = talker.author.asked[0].request.sampling
    assert (sampling.stop, sampling.stop_tokens) == ((), ())
    assert got.headers["maas-dropped-params"] == "stop, stop_token_ids"


async def test_a_model_whose_template_takes_no_tools_is_not_made_to_call_one(talker):
    spec = replace(SPEC, tool_format="", lacks=(Feature.TOOLS,), drop_params=True, served_names=())
    await talker.router.follow(plan_of(assistant=spec))
    got = await talker.say(PATH, {**ASK, "tool_choice": "required", "stop": "你"})
    assert got.headers["maas-dropped-params"] == "tool_choice, tools"
    request = talker.author.asked[-1].request
    assert (request.prompt.tools, request.grammar) == (b"", None)
    assert request.sampling.stop == ("你",)
    assert got.json["choices"][0]["message"]["content"]
