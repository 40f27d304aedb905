"""Whatever bytes arrive become a request that fits its model, or an error of the caller's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta, Feature, GenerativeSpec, TokenLogprob, Usage
from maas.core.identity import ServableId
from maas.core.messages import ModelView
from maas.dialects.oip.generate import GenerateBody, GenerateWriter, decode_generate
from maas.dialects.openai.chat import fit_chat, read_chat
from maas.dialects.openai.chat_answer import ChatAnswer, ChatEvents, ChatShape
from maas.dialects.openai.completion_answer import (
    CompletionAnswer,
    CompletionEvents,
    CompletionShape,
)
from maas.dialects.openai.completions import fit_completion, read_completion
from maas.dialects.openai.errors import ParameterError, encode_error
from maas.dialects.openai.head import Head

LACKS = (Feature.LOGIT_BIAS, Feature.MIN_P, Feature.TOP_LOGPROBS, Feature.PROMPT_LOGPROBS)
VIEWS = [
    ModelView(ServableId("m", 1), {}, "engine", True, GenerativeSpec(64, 100, form, lacks, drops))
    for form, lacks in (("hermes", ()), ("", (*LACKS, Feature.TOOLS, Feature.JSON)))
    for drops in (False, True)
]
KINDS = {ErrorKind.INVALID_ARGUMENT, ErrorKind.TOO_LARGE}
NAMES = """model messages prompt role content text type tool_calls function name arguments
tool_call_id stream stream_options include_usage n best_of max_tokens max_completion_tokens
temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty seed stop
stop_token_ids ignore_eos logit_bias logprobs top_logprobs echo suffix response_format json_schema
schema strict tools tool_choice parallel_tool_calls parameters description properties required
chat_template_kwargs modalities user id text_input max_new_tokens random_seed stop_words
exclude_input_in_output"""
WORDS = ["user", "system", "assistant", "tool", "text", "function", "auto", "none", "required",
         "json_object", "json_schema", "object", "string", "f", "{}", "5"]  # fmt: skip
LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(WORDS) | st.integers(0, 5)
)  # fmt: skip
VALUE = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES.split()) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
VALID: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "x"}], "tools": [TOOL], "tool_choice": "auto"},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function",
             "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        "logprobs": True,
        "logit_bias": {"5": 1},
        "stop": ["a"],
    },
    {"prompt": ["a", "b"], "n": 2, "logprobs": 2, "echo": True, "max_tokens": 0},
    {"prompt": [1, 2, 3], "stream": True, "stream_options": {"include_usage": True}},
    {"text_input": "a", "parameters": {"stop": ["a"], "temperature": 0}},
]  # fmt: skip


READERS: tuple[Callable[[bytes, ModelView], Any], ...] = (
    lambda text, view: fit_chat(read_chat(text), view),
    lambda text, view: fit_completion(read_completion(text), view),
    lambda text, view: decode_generate(text, view, stream=True),
)


def read_all(text: bytes) -> None:
    """Reads bytes as every kind of request; errors are the caller's, and can be written."""
    for view in VIEWS:
        for read in READERS:
            error = refusal(read, text, view)
            if error is not None:
                assert error.kind in KINDS, error
                assert len(error.message) < 1000
                written = json.loads(encode_error(error))["error"]
                assert set(written) == {"message", "type", "param", "code"}


def refusal(
    read: Callable[[bytes, ModelView], Any], text: bytes, view: ModelView
) -> MaasError | None:
    try:
        read(text, view)
    except MaasError as error:
        return error
    return None


@given(st.binary(max_size=60))
def test_bytes(text):
    read_all(text)


@given(VALUE)
def test_json(value):
    read_all(json.dumps(value).encode())


@given(
    st.sampled_from(VALID), st.lists(st.tuples(st.sampled_from(NAMES.split()), VALUE), max_size=2)
)
def test_a_request_with_some_members_replaced(valid, others):
    read_all(json.dumps({**valid, **dict(others)}).encode())


@given(st.sampled_from(VALID), st.data())
def test_a_request_with_something_within_replaced(valid, data):
    copy = json.loads(json.dumps(valid))
    place: Any = copy
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        within = place[key]
        if not isinstance(within, dict | list) or not within or data.draw(st.booleans()):
            break
        place = within
    place[key] = data.draw(VALUE)
    read_all(json.dumps(copy).encode())


@pytest.mark.parametrize("valid", VALID, ids=range(len(VALID)))
def test_the_valid_ones_are(valid):
    text = json.dumps(valid).encode()
    read = read_chat if "messages" in valid else read_completion
    if "text_input" in valid:
        decode_generate(text, VIEWS[0], stream=False)
    else:
        read(text)


HEAD = Head('id"\n', 7, "模型\u2028", "fp_1")
TEXT = st.text(max_size=6)
LOGPROB = st.floats(max_value=0.0, allow_nan=False)
TOLD = st.none() | st.lists(
    st.builds(
        TokenLogprob,
        st.binary(max_size=4),
        LOGPROB | st.none(),
        st.lists(st.tuples(st.binary(max_size=4), LOGPROB), max_size=3).map(tuple),
    ),
    max_size=3,
).map(tuple)
DELTAS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.builds(Delta, st.integers(0, 1), TEXT, st.just(1), TOLD,
                  st.none() | st.sampled_from(["stop", "length"])),
    ),
    max_size=8,
)  # fmt: skip


def chunks_of(events: bytes) -> list[Any]:
    """What events hold: one line of JSON each, whatever they hold."""
    *found, last = events.split(b"\n\n")
    assert last == b""
    assert all(one.startswith(b"data: ") and b"\n" not in one for one in found)
    return [json.loads(one[6:]) for one in found if one != b"data: [DONE]"]


def shapes() -> tuple[ChatShape, CompletionShape]:
    chat = ChatShape(True, None, True, lambda: "call_1")
    return chat, CompletionShape(2, logprobs=True, top=True)


@given(DELTAS, st.booleans())
def test_answers_and_events_say_the_same(deltas, usage):
    chats = [(0, delta) for _, delta in deltas]
    last = Delta(1, "", 0, None, "stop", Usage(1, 2))
    chats, deltas = [*chats, (0, last)], [*deltas, (1, last)]
    chat, completion = shapes()
    events = ChatEvents(HEAD, chat, 2, usage)
    found = chunks_of(b"".join([events.write([one]) for one in chats]) + events.end())
    answer = ChatAnswer(HEAD, chat, 2)
    answer.add(chats)
    body = json.loads(answer.body())
    assert body["usage"]["total_tokens"] == 3
    # OpenAI's client appends a choice when it first meets it, so they are met in order.
    first = [one["choices"][0] for one in found[:2]]
    assert [(one["index"], one["delta"].get("role")) for one in first] == [
        (0, "assistant"),
        (1, "assistant"),
    ]
    for choice in body["choices"]:
        mine = [c for one in found for c in one["choices"] if c["index"] == choice["index"]]
        said = "".join(one["delta"].get("content", "") for one in mine)
        assert said == choice["message"]["content"]
        told = [entry for one in mine if one["logprobs"] for entry in one["logprobs"]["content"]]
        assert told == ((choice["logprobs"] or {}).get("content") or [])
    assert all(one["id"] == HEAD.id and one["model"] == HEAD.model for one in found)

    texts = CompletionEvents(HEAD, completion, usage)
    found = chunks_of(b"".join([texts.write([one]) for one in deltas]) + texts.end())
    whole = CompletionAnswer(HEAD, shapes()[1], 2)
    whole.add(deltas)
    body = json.loads(whole.body())
    for choice in body["choices"]:
        mine = [c for one in found for c in one["choices"] if c["index"] == choice["index"]]
        assert "".join(one["text"] for one in mine) == choice["text"]
        for name, values in (choice["logprobs"] or {}).items():
            told = [value for one in mine for value in (one["logprobs"] or {name: []})[name]]
            assert told == values


@given(st.lists(TEXT, max_size=5), TEXT, st.none() | TEXT)
def test_what_triton_is_answered(texts, prompt, identity):
    body = GenerateBody(identity, None, prompt, True)  # type: ignore[arg-type]
    deltas = [(0, Delta(0, text)) for text in texts]
    events = GenerateWriter(body, ServableId("模", 1))
    found = chunks_of(events.write(deltas) + events.end())
    assert "".join(one["text_output"] for one in found).removeprefix(prompt) in (
        "".join(texts), "".join(texts).removeprefix(prompt)
    )  # fmt: skip
    whole = GenerateWriter(body, ServableId("模", 1))
    whole.add(deltas)
    assert json.loads(whole.body())["text_output"] == prompt + "".join(texts)


@given(TEXT, st.sampled_from(list(ErrorKind)))
def test_errors_of_a_stream(text, kind):
    chat, _ = shapes()
    [found] = chunks_of(ChatEvents(HEAD, chat, 2, True).fail(ParameterError("x", text, kind=kind)))
    assert found["error"]["message"] == text
