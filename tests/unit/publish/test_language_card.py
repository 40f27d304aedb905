"""Cards of GGUFs: end tokens, tools, and the chat template's trial."""

from __future__ import annotations

import msgspec
import pytest
from tests.language import CHAT_TEMPLATE, SPECIALS, tiny_artifact, tiny_card, tiny_gguf

from maas.core.errors import MaasError
from maas.publish.gguf_model import check_model
from maas.publish.gguf_scan import scan_gguf
from maas.publish.language_card import LONGEST_TEMPLATE, card_of_gguf, end_tokens_of, tool_format_of
from maas.publish.language_finding import settle_chat
from maas.publish.language_tokenizer import read_tokens


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("{{ messages }} <tool_call>", ""),  # takes no tools
        ("{% if tools %}<tool_call>{% endif %}", "hermes"),
        ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]", "mistral"),
        ("{% if tools %}<|python_tag|>{% endif %}", "llama3"),
        ('{% if tools %}{"name": "", "parameters": {}}<|eot_id|>{% endif %}', "llama3"),
        ("{% if tools %}<function={% endif %}", ""),
    ],
)
def test_tool_formats_are_told_by_the_template(template, expected):
    assert tool_format_of(template) == expected


def test_end_tokens_are_those_named_and_those_known():
    texts = ["a", "<|im_end|>", "</s>", "<|eot_id|>", "b", "<end_of_turn>"]
    assert end_tokens_of(texts, {1, 3, 5}, 4, None, 99) == (1, 3, 4, 5)
    assert end_tokens_of(texts, set()) == ()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return scan_gguf(tiny_gguf(tmp_path_factory.mktemp("c") / "tiny.gguf"))


def card_of(gguf, **metadata):
    changed = {**gguf.metadata, **{key.replace("__", "."): v for key, v in metadata.items()}}
    gguf = msgspec.structs.replace(gguf, metadata=changed)
    tokens = read_tokens(gguf.metadata)
    return card_of_gguf(gguf, check_model(gguf, len(tokens.texts)), tokens, 512)


def test_the_card_of_a_gguf(tiny):
    card = card_of(tiny)
    count = len(tiny.metadata["tokenizer.ggml.tokens"])
    assert card.vocabulary == count
    first = count - len(SPECIALS)
    assert card.end_tokens == (first, first + 2)
    assert card.control_tokens == (first, first + 1, first + 2)
    assert (card.bos_token, card.bos_text, card.eos_text) == (first, SPECIALS[0], SPECIALS[2])
    assert not card.add_bos
    assert (card.tool_format, card.chat_template) == ("hermes", CHAT_TEMPLATE)
    assert (card.quantization, card.context_tokens) == ("F16", 512)


def test_further_end_tokens_that_the_metadata_names(tiny):
    card = card_of(tiny, tokenizer__ggml__eot_token_id=5, tokenizer__ggml__eom_token_id=1 << 30)
    assert 5 in card.end_tokens
    assert max(card.end_tokens) < card.vocabulary


def test_a_template_that_is_too_long_is_left_out(tiny):
    card = card_of(tiny, tokenizer__chat_template="x" * (LONGEST_TEMPLATE + 1))
    assert card.chat_template == card.tool_format == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_artifact(tmp_path_factory.mktemp("a"))


def settled(folder, **card):
    return settle_chat(tiny_card(**card), folder, 2048)


def test_a_good_template_stays(folder):
    card, said = settled(folder)
    assert card == tiny_card()
    assert said == ()


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{% for",
        "{{ ''.__class__.__mro__ }}",
        "{% for a in range(10**9) %}x{% endfor %}",
        "{{ messages[0].content.no.such.thing }}",
        "{{ 'a' * 10**10 }}",
    ],
)
def test_a_template_that_fails_takes_the_chat_with_it(folder, template):
    card, said = settled(folder, chat_template=template)
    assert card.chat_template == card.tool_format == ""
    assert said[0].startswith("its chat template fails (")
    assert said[0].endswith("so it takes texts and no messages")


def test_a_model_without_a_template(folder):
    card, said = settled(folder, chat_template="")
    assert card.tool_format == ""
    assert said == ("it has no chat template, so it takes texts and no messages",)


def test_tools_that_fail_are_left_out(folder):
    template = "{{ messages[0].content }}{% if tools %}{{ raise_exception('none') }}{% endif %}"
    card, said = settled(folder, chat_template=template)
    assert card.chat_template == template
    assert card.tool_format == ""
    assert "fails with tools" in said[0]


def test_tools_in_an_unknown_way(folder):
    template = "{{ messages[0].content }}{% if tools %}{{ tools }}{% endif %}"
    card, said = settled(folder, chat_template=template, tool_format="")
    assert card.tool_format == ""
    assert "not known here" in said[0]
    assert settled(folder, chat_template="{{ messages[0].content }}", tool_format="")[1] == ()


def test_a_conversation_longer_than_a_small_context_is_no_failure(folder):
    assert settle_chat(tiny_card(), folder, 16)[0] == tiny_card()


def test_a_tokenizer_that_is_none(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MaasError):
        settle_chat(tiny_card(), tmp_path, 512)
