from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.language import BOS, END, START, tiny_card, tiny_tokenizer

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import ChatPrompt, GenerateRequest, Prompt, TextPrompt, TokenPrompt
from maas.core.ports import GenerationBounds
from maas.runtimes.language.card import TOKENIZER
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.tokens import Vocabulary

TOKENS = tiny_tokenizer()
ID = TOKENS.token_to_id
BOUNDS = GenerationBounds(template_bytes=20_000)


class Asked:
    """Prompters of one tokenizer and of different cards."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def tokens(self, prompt: Prompt, context: int = 2048, **card: Any) -> list[int]:
        known = tiny_card(**card)
        words = Vocabulary(self.file, known)
        return Prompter(known, words, BOUNDS, context).tokens(GenerateRequest(prompt))

    def text(self, prompt: Prompt, **card: Any) -> str:
        return str(TOKENS.decode(self.tokens(prompt, **card), skip_special_tokens=False))

    def refusal(self, prompt: Prompt, kind: ErrorKind, **card: Any) -> str:
        with pytest.raises(MaasError) as caught:
            self.tokens(prompt, **card)
        assert caught.value.kind is kind
        return caught.value.message


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    file = tmp_path_factory.mktemp("words") / TOKENIZER
    TOKENS.save(str(file))
    return Asked(file)


def chat(*messages: Any, tools: Any = None, **variables: Any) -> ChatPrompt:
    return ChatPrompt(
        json.dumps(messages).encode(),
        json.dumps(tools).encode() if tools else b"",
        json.dumps(variables).encode() if variables else b"",
    )


HELLO = {"role": "user", "content": "Hello"}


def test_a_conversation_is_rendered(asked: Asked) -> None:
    wanted = f"{START}user\nHello{END}\n{START}assistant\n"
    assert asked.text(chat(HELLO)) == wanted
    assert asked.tokens(chat(HELLO))[0] == ID(START)
    assert asked.text(chat(HELLO, add_generation_prompt=False)) == f"{START}user\nHello{END}\n"


def test_tools_and_variables_are_the_templates(asked: Asked) -> None:
    template = (
        "{{ tools[0].name }} {{ mood }} {{ bos_token }} {{ eos_token }} {{ messages|length }}"
    )
    prompt = chat(HELLO, tools=[{"name": "now"}], mood="blue", messages=[], bos_token="no")
    assert asked.text(prompt, chat_template=template) == f"now blue {BOS} {END} 1"
    bare = {
        "bos_text": "",
        "eos_text": "",
        "chat_template": "{{ bos_token is defined }}{{ tools }}",
    }
    assert asked.text(chat(HELLO), **bare) == "FalseNone"


def test_a_begin_of_sequence_stands_once(asked: Asked) -> None:
    assert asked.tokens(chat(HELLO), add_bos=True)[:2] == [ID(BOS), ID(START)]
    template = "{{ bos_token }}{{ messages[0].content }}"
    once = asked.tokens(chat(HELLO), add_bos=True, chat_template=template)
    assert once == asked.tokens(chat(HELLO), chat_template=template)
    assert once.count(ID(BOS)) == 1
    assert asked.tokens(TextPrompt("Hello"), add_bos=True) == once
    assert asked.tokens(TextPrompt("Hello")) == once[1:]
    assert asked.tokens(TextPrompt("Hello"), add_bos=True, bos_token=None) == once[1:]
    assert asked.tokens(TokenPrompt((5, 6)), add_bos=True) == [5, 6]


def test_control_tokens_in_a_text_are_recognised(asked: Asked) -> None:
    assert asked.tokens(TextPrompt(f"a{END}"))[-1] == ID(END)


def test_nothing_is_continued_from_the_token_between_texts(asked: Asked) -> None:
    for prompt in (TextPrompt(""), TokenPrompt(())):
        assert asked.tokens(prompt) == [ID(BOS)]
        assert asked.tokens(prompt, add_bos=True) == [ID(BOS)]
        assert asked.tokens(prompt, bos_token=None) == [ID(END)]
        message = asked.refusal(prompt, ErrorKind.INVALID_ARGUMENT, bos_token=None, end_tokens=())
        assert message.startswith("the prompt is empty")
    assert asked.tokens(chat(HELLO), chat_template="{{ '' }}") == [ID(BOS)]


@pytest.mark.parametrize("token", [-1, 490, 2**40])
def test_tokens_out_of_range_are_refused(asked: Asked, token: int) -> None:
    message = asked.refusal(TokenPrompt((1, token)), ErrorKind.INVALID_ARGUMENT)
    assert message == f"the prompt has the token {token}; expected 0 to 489"


def test_a_prompt_that_leaves_no_room_is_refused(asked: Asked) -> None:
    assert len(asked.tokens(TokenPrompt((1,) * 63), context=64)) == 63
    message = asked.refusal(TokenPrompt((1,) * 64), ErrorKind.CONTEXT_EXCEEDED, context=64)
    assert "has 64 tokens; the context of this model is 64 tokens" in message
    long = chat({"role": "user", "content": "x y " * 100})
    assert "context" in asked.refusal(long, ErrorKind.CONTEXT_EXCEEDED, context=64)


def test_a_text_beyond_its_bound_is_refused(asked: Asked) -> None:
    long = "你" * 7000
    message = asked.refusal(TextPrompt(long), ErrorKind.TOO_LARGE)
    assert message == "the prompt has 21000 bytes; expected at most 20000"
    prompt = chat({"role": "user", "content": long})
    assert "the conversation has" in asked.refusal(prompt, ErrorKind.TOO_LARGE)
    template = "{{ messages[0].content * 3 }}"
    prompt = chat({"role": "user", "content": "a" * 9000})
    message = asked.refusal(prompt, ErrorKind.INVALID_ARGUMENT, chat_template=template)
    assert "larger than 20000 bytes" in message


def test_a_model_without_a_template_takes_no_messages(asked: Asked) -> None:
    message = asked.refusal(chat(HELLO), ErrorKind.INVALID_ARGUMENT, chat_template="")
    assert "no chat template" in message


def test_a_template_says_why_it_refuses(asked: Asked) -> None:
    template = "{{ raise_exception('no ' ~ messages[0].role) }}"
    message = asked.refusal(chat(HELLO), ErrorKind.INVALID_ARGUMENT, chat_template=template)
    assert message == "the chat template refuses the conversation: no user"


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (ChatPrompt(b"5"), "the messages cannot be read"),
        (ChatPrompt(b"[5]"), "the messages cannot be read"),
        (ChatPrompt(b"["), "the messages cannot be read"),
        (ChatPrompt(b'["\xff"]'), "the messages cannot be read"),
        (ChatPrompt(b"[]", b"{}"), "the tools cannot be read"),
        (ChatPrompt(b"[]", b"", b"[]"), "the template's variables cannot be read"),
        (ChatPrompt(b'[{"a":' + b"[" * 5000 + b"]" * 5000 + b"}]"), "the messages cannot be read"),
        (ChatPrompt(b'[{"a":' + b"[" * 400 + b"]" * 400 + b"}]"), "deeper than"),
        (ChatPrompt(b'[{"role": 5}]'), "the chat template failed"),
        (ChatPrompt(b'[{"content": {"a": 1}}]'), "the chat template failed"),
        (TextPrompt("a\ud800"), "not valid Unicode"),
    ],
)
def test_what_is_no_conversation_is_refused(asked: Asked, prompt: Prompt, says: str) -> None:
    assert says in asked.refusal(prompt, ErrorKind.INVALID_ARGUMENT)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=10), st.binary(max_size=10))
def test_any_bytes_are_rendered_or_refused(
    asked: Asked, messages: bytes, tools: bytes, variables: bytes
) -> None:
    words = Vocabulary(asked.file, tiny_card())
    prompter = Prompter(tiny_card(), words, BOUNDS, 2048)
    try:
        assert prompter.tokens(GenerateRequest(ChatPrompt(messages, tools, variables)))
    except MaasError as error:
        assert error.kind is ErrorKind.INVALID_ARGUMENT  # noqa: PT017


def test_of_a_text_that_is_far_too_long_the_beginning_is_enough(asked: Asked) -> None:
    bounds = GenerationBounds(template_bytes=1 << 20)
    known = tiny_card()
    prompter = Prompter(known, Vocabulary(asked.file, known), bounds, 64)
    with pytest.raises(MaasError) as caught:
        prompter.tokens(GenerateRequest(TextPrompt("x y " * 100_000)))
    assert caught.value.kind is ErrorKind.CONTEXT_EXCEEDED
    assert caught.value.message.startswith("the prompt has more than ")
    assert "context of this model is 64 tokens" in caught.value.message
