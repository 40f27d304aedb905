from __future__ import annotations

import json
import threading
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.language import CHAT_TEMPLATE, tiny_tokenizer
from tests.unit.runtimes.language.rendering import USER, refusal, rendered, written
from tests.unit.runtimes.language.templates import FAMILIES

from maas.core.errors import MaasError
from maas.runtimes.language.template import SOURCE_LIMIT, ChatTemplate

ANSWER = {"role": "assistant", "content": "<think>\nWell.\n</think>\n\nNothing.\n"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "abcdefgh1",
            "type": "function",
            "function": {"name": "weather", "arguments": {"city": "Zürich", "days": [1, 2.5]}},
        }
    ],
}
RESULT = {"role": "tool", "content": '{"sun": true}', "tool_call_id": "abcdefgh1"}
SYSTEM = {"role": "system", "content": "Be brief.\n"}
THOUGHT = {"role": "assistant", "content": "So.", "reasoning": "Because."}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": 'The weather\nof a "city".',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "enum": ["Paris", "Zürich"]},
                    "days": {"type": "array", "items": {"type": ["number", "null"]}},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": None}},
]
CONVERSATIONS = {
    "one": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ANSWER, USER, ANSWER, USER],
    "call": [SYSTEM, USER, CALL, RESULT],
    "two calls": [
        USER,
        CALL | {"tool_calls": CALL["tool_calls"] * 2},
        RESULT,
        RESULT,
        THOUGHT,
        USER,
    ],
    "ends with the model": [USER, THOUGHT],
}
VARIABLES: list[dict[str, Any]] = [
    {"add_generation_prompt": True},
    {"add_generation_prompt": False},
    {"add_generation_prompt": True, "enable_thinking": False, "custom_tools": []},
]


@pytest.fixture(scope="module")
def reference() -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(), bos_token="<s>", eos_token="</s>"
    )


def both(reference: Any, source: str, messages: Any, tools: Any, variables: Any) -> None:
    """Ours and transformers' render the same, or both refuse."""
    from jinja2.exceptions import TemplateError

    ours = partial(rendered, ChatTemplate(source), messages, tools, **variables)
    refused = ""
    try:
        wanted = reference.apply_chat_template(
            messages, tools=tools, chat_template=source, tokenize=False, **variables
        )
    except (TemplateError, TypeError) as error:
        refused = str(error)[:400]
    if refused:
        assert refused in refusal(lambda: ours(bos_token="<s>", eos_token="</s>"))
    else:
        assert ours(bos_token="<s>", eos_token="</s>") == wanted


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
def test_renders_as_transformers_does(
    reference: Any, family: str, conversation: str, tools: Any
) -> None:
    for variables in VARIABLES:
        both(reference, FAMILIES[family], CONVERSATIONS[conversation], tools, variables)


TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("{}%<>&'\"\\\n")),
    max_size=30,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
CALLS = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": TEXTS, "arguments": VALUES}), "id": TEXTS}
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "other"])},
        optional={
            "content": st.none() | TEXTS,
            "tool_calls": st.none() | st.lists(CALLS, max_size=2),
            "tool_call_id": TEXTS,
            "reasoning_content": TEXTS,
            "name": VALUES,
        },
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(messages=MESSAGES, family=st.sampled_from(sorted(FAMILIES)))
def test_renders_any_conversation_as_transformers_does(
    reference: Any, messages: Any, family: str
) -> None:
    both(reference, FAMILIES[family], messages, TOOLS, {"add_generation_prompt": True})


SNIPPETS = """
{{ messages[0] }}|{{ [1, 2.5, none, true, 'a', (1,), {'b': [undefined_one]}] }}
{{ (messages | selectattr('role', 'equalto', 'nobody')) and 'a generator is true' }}
{{ {'b': 1, 'a': [1, {'c': 'é'}]} | tojson(indent=2, sort_keys=true) }}{{ '<é>' | tojson }}
{{ [1, 2] | tojson(separators=(',', ':'), ensure_ascii=true) }}{{ 1.0 | tojson }}
{{ 'a,b'.split(',') | join('-') }}{{ ' a '.strip() ~ 1 ~ none }}{{ 'x' * 3 }}{{ 'abc'[::-1] }}
{{ '%s=%5.2f%%' | format('a', 1.5) }}{{ '{} {b!r:>5}'.format(1, b='c') }}{{ 7 // 2 }}{{ 7 % 4 }}
{{ dict(a=1, **{'b': 2}) }}{{ range(3) | list }}{{ 'abc' | batch(2, '?') | list }}{{ 2 ** 10 }}
{% set ns = namespace(n=0) %}{% for i in range(9) %}{% if i == 5 %}{% break %}{% endif %}\
{% if i is odd %}{% continue %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}
{% macro m(a, b='x') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller() if caller }}\
{% endmacro %}\
{{ m(1, 2, 3, c=4) }}{% call m(5) %}inside{% endcall %}
{% for k, v in {'x': 1}.items() %}{{ k }}{{ v }}{{ loop.last }}{% else %}none{% endfor %}
{% for a in [1, [2, [3]]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}
{% set t %}  block {{ 1 }}{% endset %}{{ t | trim | upper }}
{% filter replace('a', 'b') %}aa{% endfilter %}
{{ 'abc' | title }}{{ 'a\\nb' | indent(2, true) }}{{ [3, 1, 2] | sort | first }}{{ [1, 2] | sum }}
{{ messages | map(attribute='role') | unique | list }}{{ 'long text here' | truncate(8) }}
{% with a = 1 %}{{ a }}{% endwith %}{% raw %}{{ x }}{% endraw %}{# gone #}
{{ 'yes' if a is defined }}
{{ messages[9] is defined }}{{ messages[0].pop is defined }}{{ messages[0].nothing | default('d') }}
{{ messages[0].content.replace('new', 'old').upper().find('OLD') }}{{ 'a' in 'abc' }}{{ 1 < 2 < 3 }}
{% generation %}{% set inner = 1 %}seen{% endgeneration %}{{ inner is defined }}
{{ "abcabc".rsplit('b', 1) }}{{ 'aXb'.partition('X') }}{{ '7'.zfill(3) }}{{ 'a'.center(5) }}|
{{ namespace(a=1).a }}{{ [1, 2] + [3] }}{{ (1, 2) * 2 }}{{ '1' | int + 1 }}{{ 2.345 | round(1) }}
{{ messages[0].keys() }}{{ {'a': 1}.items() }}{{ range(3) }}{{ (-2) ** 0.5 }}
{{ none }}{{ true }}{{ 1.0 }}{{ undefined_one }}{{ '' | default('e', true) }}{{ [] | length }}
{{ [{'a': 2}, {'a': 1}] | sort(attribute='a') | map(attribute='a') | list }}{{ 'b' ~ ['c'] ~ {} }}
{{ messages | groupby('role') | length }}{{ {'b': 1, 'a': 2} | dictsort }}
{{ {'a': 1} | items | list }}
""".strip().split("\n")


@pytest.mark.parametrize("source", [line for line in SNIPPETS if line])
def test_does_what_templates_do_as_transformers_does(reference: Any, source: str) -> None:
    both(reference, source, [USER, ANSWER], TOOLS, {"add_generation_prompt": True})


def test_knows_the_time() -> None:
    template = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}", now=lambda: datetime(2026, 11, 22))
    assert rendered(template) == "2026-11-22"


def test_shows_why_it_refuses() -> None:
    source = "{{ raise_exception('take ' ~ 'turns' * 1000) }}"
    message = refusal(lambda: written(source))
    assert message.startswith("the chat template refuses the conversation: take turnsturns")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{% if %}", "line 1"),
        ("\n{{ 'a' | nothing }}", "line 2: No filter named 'nothing'"),
        ("{% include 'x' %}", "it has 'include'"),
        ("{% import 'x' as y %}", "it has 'import'"),
        ("{% from 'x' import y %}", "import"),
        ("{% extends 'x' %}", "it has 'extends'"),
        ("{% autoescape true %}{% endautoescape %}", "it has 'autoescape'"),
        ("x" * (SOURCE_LIMIT + 1), "expected at most 262144"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        ("{{ " + "-" * 5000 + "1 }}", "nested too deeply"),
        ("{% if 1 %}" * 5000, "nested too deeply"),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, "too many"),
        ("{{a}}" * 25000, "more than 20000 parts"),
        ("{{ " + "9" * 9000 + " }}", "4300 digits"),
        ("{{ 'abc'[1:2, 3] }}", "cannot be read"),
    ],
)
def test_refuses_what_is_no_chat_template(source: str, says: str) -> None:
    assert says in refusal(lambda: ChatTemplate(source))


def test_a_text_has_a_longest_length() -> None:
    template = ChatTemplate("{{ messages[0].content }}")
    long = [{"role": "user", "content": "ab" * 500}]
    assert len(rendered(template, long, most=4000)) == 1000
    assert refusal(lambda: rendered(template, long, most=999)).endswith("larger than 999 bytes")
    wide = [{"role": "user", "content": "你" * 500}]
    assert "longer than 1400 bytes" in refusal(lambda: rendered(template, wide, most=1400))


def test_a_conversation_that_is_too_deep_is_refused() -> None:
    deep: Any = 1
    for _ in range(600):
        deep = [deep]
    template = ChatTemplate("{{ messages|tojson }}")
    assert "deeper" in refusal(lambda: rendered(template, [{"role": "user", "content": deep}]))


PARTS = """{{ | }} |{% | %}|{#|#}|-|messages|[0]|.role|tojson|for x in |if |endif|endfor|set |=|x
'|"|(|)|~|range(9)|9|macro m()|endmacro|m()|namespace|[|]|,|{% for x in messages %}|{% endfor %}
{{ x }}|{% if x %}|{% endif %}|{%- set y = |, 'role')|loop.|{{ messages[|]|filter""".replace(
    "\n", "|"
).split("|")


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.sampled_from([*PARTS, "|", "\n"]) | st.text(max_size=3), max_size=20))
def test_any_source_renders_or_is_refused(parts: list[str]) -> None:
    with suppress(MaasError):
        rendered(ChatTemplate("".join(parts)), seconds=5, most=1 << 16)


def test_threads_share_a_template() -> None:
    template = ChatTemplate(CHAT_TEMPLATE)
    texts: dict[int, str] = {}

    def render(number: int) -> None:
        messages = [{"role": "user", "content": f"{number}." * 50}] * 20
        for _ in range(5):
            texts[number] = rendered(template, messages)

    threads = [threading.Thread(target=render, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(texts[n].count(f"{n}." * 50) == 20 for n in range(8))


def test_the_conversation_is_as_it_was() -> None:
    messages = [json.loads(json.dumps(message)) for message in (SYSTEM, USER, CALL, RESULT)]
    kept = json.dumps(messages)
    rendered(ChatTemplate(FAMILIES["qwen"]), messages, TOOLS)
    assert json.dumps(messages) == kept
