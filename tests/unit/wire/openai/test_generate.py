"""Triton's generate extension, through the data plane."""

from __future__ import annotations

import json

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import TextPrompt

ONE = "/v2/models/assistant/generate"
MANY = "/v2/models/assistant/versions/1/generate_stream"


async def test_one_answer(talker):
    got = await talker.say(ONE, {"text_input": "Say", "id": "7", "parameters": {"max_tokens": 3}})
    assert got.json == {
        "id": "7", "model_name": "assistant", "model_version": "1", "text_output": "Hello 你"
    }  # fmt: skip
    assert got.headers["maas-model"] == "assistant:1"
    assert talker.author.asked[0].request.prompt == TextPrompt("Say")


async def test_events(talker):
    got = await talker.say(MANY, {"text_input": "Say", "parameters": {"stream": True}})
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = [json.loads(one) for one in got.data]
    assert [one["text_output"] for one in found] == ["Hel", "lo", " 你", "好"]
    assert {(one["model_name"], one["model_version"]) for one in found} == {("assistant", "1")}


async def test_one_event(talker):
    got = await talker.say(MANY, {"text_input": "Say", "stream": False})
    [only] = got.data
    assert json.loads(only)["text_output"] == "Hello 你好"


async def test_a_stream_of_nothing_has_an_event(talker):
    talker.author.tokens = [""]
    [only] = (await talker.say(MANY, {"text_input": "Say"})).data
    assert json.loads(only)["text_output"] == ""


async def test_the_prompt_before_the_answer(talker):
    asked = {"text_input": "Say: ", "exclude_input_in_output": False}
    assert (await talker.say(ONE, asked)).json["text_output"] == "Say: Hello 你好"


async def test_parameters_of_both_backends(talker):
    await talker.say(
        ONE,
        {
            "text_input": ["Say"],
            "max_new_tokens": 7,
            "random_seed": 3,
            "stop_words": [""],
            "top_k": 5,
            "bad_words": ["x"],
            "parameters": {"temperature": 0, "stop": "\n", "repetition_penalty": 1.1},
        },
    )
    sampling = talker.author.asked[0].request.sampling
    assert (sampling.max_tokens, sampling.seed, sampling.top_k) == (7, 3, 5)
    assert (sampling.temperature, sampling.stop) == (0.0, ("\n",))
    assert sampling.repetition_penalty == 1.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"text_input": 7},
        {"text_input": ["a", "b"]},
        {"text_input": None},
        {"id": 7},
        {"parameters": []},
        {"parameters": {"max_tokens": 0}},
        {"temperature": "hot"},
        {"temperature": -1},
        {"top_k": 1.5},
        {"stop": [7]},
        {"stop": ["a"] * 17},
        {"stream": True},
        {"stream": 1},
        {"min_p": 0.5},
    ],
)
async def test_what_is_wrong_is_named(talker, wrong):
    got = await talker.say(ONE, {"text_input": "Say", **wrong})
    assert got.status == 400
    assert set(got.json) == {"error"}
    assert talker.author.asked == []


async def test_what_may_be_left_out_is_said(talker):
    got = await talker.say("/v2/models/easy/generate", {"text_input": "Say", "min_p": 0.5})
    assert got.headers["maas-dropped-params"] == "min_p"


async def test_a_model_that_writes_nothing(talker):
    got = await talker.say("/v2/models/iris/generate", {"text_input": "Say"})
    assert got.status == 400
    assert "/infer" in got.json["error"]


async def test_errors(talker):
    talker.author.before[2] = MaasError(ErrorKind.UNAVAILABLE, "its process died")
    got = await talker.say(MANY, {"text_input": "Say"})
    assert json.loads(got.data[-1]) == {"error": "its process died"}
    got = await talker.say(ONE, {"text_input": "Say"})
    assert (got.status, got.json) == (503, {"error": "its process died"})
