from __future__ import annotations

import json

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import TextPrompt, TokenPrompt

PATH = "/v1/completions"
ASK = {"model": "assistant", "prompt": "Say hello", "max_tokens": 9}


async def test_an_answer(talker):
    got = await talker.say(PATH, ASK, x_request_id="order-1")
    assert got.status == 200
    assert got.headers["maas-model"] == "assistant:1"
    assert got.headers["x-request-id"] == "order-1"
    answer = got.json
    assert answer.pop("id").startswith("cmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer.pop("system_fingerprint").startswith("fp_")
    assert answer == {
        "object": "text_completion",
        "model": "assistant",
        "choices": [{"index": 0, "text": "Hello 你好", "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 4,
            "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


async def test_what_is_not_said_is_as_in_openais_api(talker):
    await talker.say(PATH, {"prompt": "x", "model": "assistant", "temperature": None, "n": None})
    sampling = talker.author.asked[0].request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (16, 1.0, 1.0)
    assert (sampling.stop, sampling.seed, sampling.logprobs) == ((), None, None)


async def test_all_parameters_arrive(talker):
    got = await talker.say(
        PATH,
        {
            **ASK,
            "n": 2,
            "temperature": 0,
            "top_p": 0.5,
            "top_k": -1,
            "presence_penalty": 1,
            "frequency_penalty": -1.5,
            "repetition_penalty": 1.1,
            "seed": -1,
            "stop": ["\n", "。"],
            "stop_token_ids": [7],
            "ignore_eos": True,
            "user": "ann",
            "what_is_not_known": {"passes": [1]},
        },
    )
    assert got.status == 200, got.body
    [call] = talker.author.asked
    sampling = call.request.sampling
    assert (call.request.prompt, call.request.choices) == (TextPrompt("Say hello"), 2)
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.0, 0.5, 0)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1.0, -1.5)
    assert (sampling.repetition_penalty, sampling.seed) == (1.1, (1 << 63) - 1)
    assert (sampling.stop, sampling.stop_tokens, sampling.ignore_end) == (("\n", "。"), (7,), True)
    assert [choice["index"] for choice in got.json["choices"]] == [0, 1]


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("", [TextPrompt("")]),
        (["a", "b"], [TextPrompt("a"), TextPrompt("b")]),
        ([1, 2], [TokenPrompt((1, 2))]),
        ([[1], [2, 3]], [TokenPrompt((1,)), TokenPrompt((2, 3))]),
    ],
)
async def test_prompts(talker, prompt, prompts):
    got = await talker.say(PATH, {**ASK, "prompt": prompt, "n": 2})
    assert [call.request.prompt for call in talker.author.asked] == prompts
    choices = got.json["choices"]
    assert [choice["index"] for choice in choices] == list(range(2 * len(prompts)))
    assert {choice["text"] for choice in choices} == {"Hello 你好"}
    assert got.json["usage"]["prompt_tokens"] == 5 * len(prompts)


async def test_a_stream(talker):
    got = await talker.say(PATH, {**ASK, "stream": True, "max_tokens": 3})
    assert got.status == 200
    assert got.ended
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["x-accel-buffering"] == "no"
    assert got.headers["maas-model"] == "assistant:1"
    assert "content-length" not in got.headers
    chunks = got.chunks
    assert len({(one["id"], one["created"], one["system_fingerprint"]) for one in chunks}) == 1
    assert {one["object"] for one in chunks} == {"text_completion"}
    assert all("usage" not in one for one in chunks)
    choices = [one["choices"][0] for one in chunks]
    assert [one["text"] for one in choices] == ["Hel", "lo", " 你"]
    assert [one["finish_reason"] for one in choices] == [None, None, "length"]


async def test_the_usage_of_a_stream(talker):
    asked = {**ASK, "stream": True, "stream_options": {"include_usage": True}, "prompt": ["a", "b"]}
    *chunks, last = (await talker.say(PATH, asked)).chunks
    assert all(one["usage"] is None for one in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 18
    assert last["id"] == chunks[0]["id"]


async def test_what_is_ready_at_once_goes_in_one_send(talker):
    got = await talker.say(PATH, {**ASK, "stream": True})
    assert len(got.chunks) == 4
    assert len(got.sends) < 4


async def test_choices_of_several_prompts_in_a_stream(talker):
    got = await talker.say(PATH, {**ASK, "stream": True, "prompt": ["a", "b"], "n": 2})
    texts = {}
    for chunk in got.chunks:
        [choice] = chunk["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == dict.fromkeys(range(4), "Hello 你好")


async def test_logprobs_of_the_chosen_tokens(talker):
    got = await talker.say(PATH, {**ASK, "logprobs": 0})
    assert got.json["choices"][0]["logprobs"] == {
        "tokens": ["Hel", "lo", " 你", "好"],
        "token_logprobs": [-0.5] * 4,
        "top_logprobs": None,
        "text_offset": [0, 3, 5, 7],
    }


async def test_echo_with_the_likeliest_tokens(talker):
    got = await talker.say(PATH, {**ASK, "model": "base", "logprobs": 2, "echo": True})
    choice = got.json["choices"][0]
    assert choice["text"] == "Say helloHello 你好"
    logprobs = choice["logprobs"]
    assert logprobs["tokens"][0] == "Say hello"
    assert logprobs["token_logprobs"][:2] == [None, -0.5]
    assert logprobs["top_logprobs"][0] is None
    assert logprobs["top_logprobs"][1] == {"Hel": -0.5, "bytes:\\xe4\\xbd": -9999.0}
    assert logprobs["text_offset"] == [0, 9, 12, 14, 16]


async def test_the_prompt_alone(talker):
    got = await talker.say(PATH, {**ASK, "model": "base", "max_tokens": 0, "echo": True})
    assert talker.author.asked[0].request.sampling.max_tokens == 0
    assert got.json["choices"][0]["text"] == "Say hello"


WRONG = {
    "prompt": [
        None,
        7,
        {},
        [],
        [[]],
        ["a", 1],
        [1, "a"],
        [1.5],
        [-1],
        [True],
        [["a"]],
        ["a"] * 129,
    ],
    "n": [0, 129, 1.5, "2", True],
    "best_of": [3],
    "max_tokens": [-1, 0, "5", 1 << 40, 10**30],
    "temperature": [-0.1, 2.1, "hot", True, 10**30],
    "top_p": [-0.1, 1.1],
    "top_k": [-2, 1.5],
    "min_p": [2],
    "presence_penalty": [-2.1, 3],
    "frequency_penalty": ["x"],
    "repetition_penalty": [0, -1],
    "seed": [1.5, 1 << 70, "1"],
    "stop": [7, [""], "", ["a"] * 17, [None], "a" * 2000, {}],
    "stop_token_ids": [[-1], ["a"], [1000], 7],
    "logit_bias": [[1], {"x": 1}, {"5": 101}, {"5": "1"}, {"-1": 1}, {"1000": 1}, {"²": 1}],
    "logprobs": [21, -1, True, "2"],
    "echo": [1],
    "stream": ["yes", 1],
    "stream_options": [{"include_usage": True}],
    "suffix": ["end"],
    "model": [7, "x" * 300],
    "response_format": ["json", {"type": "xml"}, {"type": "json_schema"}, {}],
}


@pytest.mark.parametrize(("param", "value"), [(p, v) for p, vs in WRONG.items() for v in vs])
async def test_what_is_wrong_is_named(talker, param, value):
    got = await talker.say(PATH, {**ASK, param: value})
    assert got.status == 400, got.body
    error = got.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"].partition(".")[0] == param
    assert error["code"] is None
    assert param in error["message"]
    assert talker.author.asked == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"\xff", b"null", b'{"prompt": "\\ud800"}']
)
async def test_what_is_no_json_object(talker, body):
    got = await talker.say(PATH, body)
    assert got.status == 400
    assert got.json["error"]["param"] is None


async def test_what_the_engine_lacks_is_refused_by_name(talker):
    got = await talker.say(PATH, {**ASK, "logit_bias": {"5": 1}})
    assert got.status == 400
    assert got.json["error"]["param"] == "logit_bias"
    assert "test_engine" in got.json["error"]["message"]


async def test_or_left_out_where_the_model_is_published_so(talker):
    asked = {**ASK, "model": "easy", "logit_bias": {"5": 1}, "logprobs": 3, "min_p": 0.1}
    got = await talker.say(PATH, asked)
    assert got.status == 200
    assert got.headers["maas-dropped-params"] == "logit_bias, logprobs, min_p"
    sampling = talker.author.asked[0].request.sampling
    assert (sampling.logit_bias, sampling.logprobs, sampling.min_p) == (None, 0, 0.0)
    got = await talker.say(PATH, {**asked, "stream": True})
    assert got.headers["maas-dropped-params"] == "logit_bias, logprobs, min_p"


async def test_an_error_before_the_first_token_is_a_plain_answer(talker):
    talker.author.before[0] = MaasError(ErrorKind.RESOURCE_EXHAUSTED, "too many", retry_after_s=0.5)
    for stream in (False, True):
        got = await talker.say(PATH, {**ASK, "stream": stream})
        assert got.status == 429
        assert got.headers["retry-after"] == "1"
        assert got.headers["retry-after-ms"] == "500"
        assert got.headers["x-should-retry"] == "true"
        assert got.json["error"] == {
            "message": "too many",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }


async def test_a_prompt_beyond_the_context(talker):
    talker.author.before[0] = MaasError(ErrorKind.CONTEXT_EXCEEDED, "the prompt has 99 tokens")
    got = await talker.say(PATH, {**ASK, "stream": True})
    assert got.status == 400
    error = got.json["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")


async def test_an_error_in_the_middle_is_a_frame(talker):
    talker.author.before[2] = MaasError(ErrorKind.UNAVAILABLE, "its process died")
    got = await talker.say(PATH, {**ASK, "stream": True})
    assert got.status == 200
    assert got.ended
    *chunks, last = [json.loads(one) for one in got.data]
    assert "".join(one["choices"][0]["text"] for one in chunks) == "Hello"
    assert last == {
        "error": {
            "message": "its process died", "type": "server_error", "param": None, "code": None
        }
    }  # fmt: skip
    got = await talker.say(PATH, ASK)
    assert got.status == 503


async def test_our_own_fault_in_the_middle_is_a_frame_without_its_text(talker):
    talker.author.before[1] = RuntimeError("secret")
    got = await talker.say(PATH, {**ASK, "stream": True}, x_request_id="order-9")
    assert b"secret" not in got.body
    assert "order-9" in json.loads(got.data[-1])["error"]["message"]
    assert json.loads(got.data[-1])["error"]["type"] == "server_error"


async def test_one_prompt_that_fails_ends_the_others(talker):
    talker.author.before[1] = MaasError(ErrorKind.UNAVAILABLE, "gone")
    got = await talker.say(PATH, {**ASK, "prompt": ["a", "b", "c"]})
    assert got.status == 503
    assert talker.author.running == 0
