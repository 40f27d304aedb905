from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.language import CHAT_TEMPLATE, tiny_tokenizer
from tests.unit.runtimes.language.templates import FAMILIES

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.language.template import SOURCE_LIMIT, ChatTemplate

USER = {"role": "user", "content": "  What is <b>new</b> & 'good'? 你好 🙂 "}
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


def rendered(
    template: ChatTemplate,
    messages: Any = (USER,),
    tools: Any = None,
    seconds: float = 30,
    most: int = 1 << 20,
    **variables: Any,
) -> str:
    return template.render(messages, tools, variables, seconds=seconds, most=most)


def written(source: str, **others: Any) -> str:
    return rendered(ChatTemplate(source), **others)


def refusal(ask: Callable[[], Any]) -> str:
    with pytest.raises(MaasError) as caught:
        ask()
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert len(caught.value.message) < 700
    return caught.value.message


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


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ (''|attr('__class__')).x }}",
    "{{ ''['__class__'].y }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id') }}",
    "{{ joiner.__init__.x }}",
    "{{ self.__init__.__globals__ }}",
    "{{ (self|attr('_TemplateReference__context')).x }}",
    "{{ raise_exception.__globals__.x }}",
    "{{ raise_exception._function.x }}",
    "{{ range.__self__.x }}",
    "{{ namespace.__init__.x }}",
    "{{ dict.fromkeys('ab') }}",
    "{{ ([1]|map('upper')).gi_frame.f_globals }}",
    "{{ ([1]|map('upper'))._items.x }}",
    "{% macro m() %}{% endmacro %}{{ m._environment.x }}",
    "{% for i in [1] %}{{ loop._iterator.x }}{% endfor %}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{{ namespace(__init__=1) }}",
    "{{ namespace({'_x': 1}) }}",
    "{{ namespace({1: 1}) }}",
    "{{ x.__init__.__globals__ }}",
    "{{ '{0.__class__.__mro__}'.format('a')[0].x }}{{ '{0.x.y}'.format('a') }}",
    "{{ '{a.b.__class__.c}'.format_map({'a': {'b': 1}}) }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(a=1) }}",
    "{{ messages[0].pop('role') }}",
    "{{ 'a'.encode() }}",
    "{{ 'a'.translate({}) }}",
    "{{ [1]|map(' write')|list }}",
    "{{ ['nan'|float]|map(' write')|list }}",
    "{{ [[1]]|map(' cut', 0)|list }}",
    "{{ none() }}",
    "{{ 'a'() }}",
    "{{ [raise_exception] }}",
    "{{ '\\ud800' }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_no_way_leads_out_of_the_sandbox(source: str) -> None:
    message = refusal(lambda: written(source))
    assert "<class" not in message
    assert "0x" not in message


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''|attr('__class__') }}{{ ''.__class__ }}{{ x._undefined_name }}",
        "{{ '{0.__class__}'.format('a') }}{{ '{0[__class__]}'.format('a') }}",
        "{{ ['']|selectattr('__class__')|list|join }}{{ messages[0].pop }}",
        "{% macro m() %}{% endmacro %}{{ m._func }}{{ namespace(a=1).__init__ }}",
        "{{ context }}{{ environment }}{{ lipsum }}{{ cycler }}{{ joiner }}",
    ],
)
def test_what_is_hidden_is_undefined(source: str) -> None:
    assert written(source) == ""


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception }}{{ raise_exception ~ '' }}{{ raise_exception|upper }}",
        "{{ [1]|map('int') }}{{ ([1]|map('int'))|string }}{{ [1]|map('int')|lower }}",
        "{{ 'a'.upper }}{{ 'a'.upper|lower }}{{ 'a'.replace|upper }}{{ {}.items|lower }}",
        "{{ '%s' % 'a'.upper }}{{ '{} {!r}'.format(range, 'a'.replace) }}{{ namespace()|lower }}",
        "{% macro m() %}{% endmacro %}{{ m }}{{ m|lower }}{% for i in [1] %}{{ loop }}{% endfor %}",
    ],
)
def test_writes_no_address(source: str) -> None:
    assert "0x" not in written(source).lower()


LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
BIG = "{% set x = 'a' * 1000000 %}"
GROW = "{% set ns = namespace(x=BASE) %}{% for i in range(200) %}{% set ns.x = NEXT %}{% endfor %}"
BOMBS = {
    "loops": LOOPS + "{% endfor %}" * 3,
    "filtered loops": LOOPS.replace(") %}", ") if false %}")
    + "{% endfor %}" * 3
    + LOOPS
    + "{{ messages[0].role }}"
    + "{% endfor %}" * 3,
    "long range": "{{ range(10**9)|list }}",
    "times": "{{ 'a' * 10**9 }}",
    "times a list": "{{ [1] * 10**9 }}",
    "power": "{{ 10 ** 10000000 }}",
    "negative power": "{{ (-2) ** -(10 ** 9) }}",
    "squares": GROW.replace("BASE", "3").replace("NEXT", "ns.x * ns.x"),
    "hexadecimal": "{{ ('f' * 1000000)|int(0, 16) }}",
    "% width": "{{ '%1000000000d' % 1 }}",
    "% width in a filter": "{{ '%1000000000d'|format(1) }}",
    "% precision": "{{ '%.1000000000f' % 1.0 }}",
    "% star": "{{ '%*d' % (10**9, 1) }}",
    "% star precision": "{{ '%.*f' % (10**9, 1.0) }}",
    "% name in parentheses": "{{ '%(a(b))1000000000d' % {'a(b)': 1} }}",
    "% many times": BIG + "{{ ('%(a)s' * 1000) % {'a': x} }}",
    "% many widths": "{{ ('%9999d' * 1000)|format(1) }}",
    "% odd": "{{ '%' % 1 }}",
    "% open name": "{{ '%(a' % {} }}",
    "format width": "{{ '{:>1000000000}'.format('a') }}",
    "format nested width": "{{ '{:{w}}'.format('a', w=10**9) }}",
    "format map width": "{{ '{a:>1000000000}'.format_map({'a': 1}) }}",
    "format many times": BIG + "{{ ('{0}' * 1000).format(x) }}",
    "center": "{{ 'a'.center(10**9) }}",
    "center filter": "{{ 'a'|center(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "indent": "{{ 'a\nb'|indent(10**9) }}",
    "indent of lines": "{{ ('a\n' * 100000)|indent(10000) }}",
    "join": BIG + "{{ range(1000)|join(x) }}",
    "join method": BIG + "{{ x.join('b' * 1000) }}",
    "replace": BIG + "{{ x|replace('a', x) }}",
    "replace method": BIG + "{{ x.replace('', x) }}",
    "escape": "{{ ('<' * 1000000)|e }}",
    "concatenation": BIG + "{{ " + "~".join("x" * 3000) + " }}",
    "slices": BIG + "{% set y = [" + ",".join(["x[1:]"] * 300) + "] %}",
    "doubling": GROW.replace("BASE", "'ab'").replace("NEXT", "ns.x ~ ns.x"),
    "doubling with +": GROW.replace("BASE", "'ab'").replace("NEXT", "ns.x + ns.x"),
    "lists in lists": GROW.replace("BASE", "[1]").replace("NEXT", "[ns.x, ns.x]"),
    "tuples as keys": GROW.replace("BASE", "(1,)").replace("NEXT", "(ns.x, ns.x)")
    + "{{ {ns.x: 1} }}",
    "objects in objects": GROW.replace("BASE", "{}").replace("NEXT", "dict(a=ns.x, b=ns.x)"),
    "lists in themselves": GROW.replace("BASE", "[1]").replace("NEXT", "ns.x + [ns.x]"),
    "arguments of arguments": "{% macro m(n) %}{{ m(n - 1, varargs, varargs, varargs) if n }}"
    "{% endmacro %}{{ m(60, 1) }}",
    "names of names": "{% macro m(n) %}{{ m(n - 1, a=kwargs, b=kwargs, c=kwargs) if n }}"
    "{% endmacro %}{{ m(60, a=1) }}",
    "deep": "{% set ns = namespace(x=1) %}{% for i in range(99999) %}{% set ns.x = (ns.x,) %}"
    "{% endfor %}{{ {ns.x: 1} }}",
    "many names": "{% set ns = namespace() %}"
    + "".join(f"{{% set ns.a{i} = 'a' * 1000000 %}}" for i in range(100)),
    "a macro in itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a tree of macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}"
    "{% endmacro %}{{ m(60) }}",
    "a loop in itself": "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "a block in itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "callers": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 18
    + "x" * 1000
    + "{% endcall %}" * 18,
    "output": "{% for i in range(99999) %}" + "x" * 1000 + "{% endfor %}",
    "kept output": "{% set x %}{% for i in range(99999) %}"
    + "x" * 1000
    + "{% endfor %}{% endset %}",
    "filtered output": "{% filter upper %}{% for i in range(99999) %}"
    + "x" * 1000
    + "{% endfor %}{% endfilter %}",
    "wide characters": "{{ '🙂' * 500000 }}",
    "batch": "{{ [1]|batch(10**9, 'x')|list }}",
    "slice": "{{ [1]|slice(10**9)|list }}",
    "round": "{{ 1.5|round(10**9, 'ceil') }}",
    "sum of lists": "{{ ([[1] * 300] * 400)|sum(start=[]) }}",
    "sort": BIG + "{{ [x, x[1:]] * 100000|sort }}",
    "rfind": "{{ ('a' * 1000000).rfind('b' + 'a' * 500000) }}",
    "rsplit": "{{ ('a' * 1000000).rsplit('b' + 'a' * 500000) }}",
    "strip": "{{ ('a' * 1000000).strip('b' * 999999 + 'a') }}",
    "trim": "{{ ('a' * 1000000)|trim('b' * 999999 + 'a') }}",
    "split": "{% for i in range(999) %}{% set x = ('ab ' * 100000).split() %}{% endfor %}",
    "letters": "{{ ('你' * 1000000)|list }}",
    "mapped letters": BIG + "{{ x|map('upper')|map('lower')|list }}",
    "long attribute": "{{ ([messages] * 100)|map(attribute='.0' * 400000, default='')|list }}",
    "json indent": "{{ messages|tojson(indent=10**9) }}",
    "json indent text": "{{ messages|tojson(indent='x' * 1000000) }}",
    "json separators": "{{ messages|tojson(separators=('a' * 1000000, 'b')) }}",
    "time": "{{ strftime_now('%Y' * 1000000) }}",
    "bad time": "{{ strftime_now(5) }}",
    "compared": BIG + "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% if x == x[1:] ~ 'a' %}{% endif %}{% endfor %}{% endfor %}",
    "numbers that collide": "{{ dict(range(0, 99999 * (2**61 - 1), 2**61 - 1)|batch(2)|list) }}",
    "unique numbers that collide": "{{ range(0, 99999 * (2**61 - 1), 2**61 - 1)|unique|list }}",
    "division": "{{ 1 / 0 }}",
    "infinite": "{{ 1.0e400 }}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_every_bomb_is_put_out(bomb: str) -> None:
    threads = threading.active_count()
    refusal(lambda: written(BOMBS[bomb], seconds=0.1))
    assert threading.active_count() == threads


def test_a_chain_of_namespaces_comes_apart() -> None:
    source = "{% set ns = namespace(x=0) %}{% for a in range(99999) %}{% set ns.x ="
    assert written(source + " namespace(x=ns.x) %}{% endfor %}done") == "done"


def test_time_is_told() -> None:
    assert refusal(lambda: written(BOMBS["loops"], seconds=0.05)) == (
        "the chat template took longer than 0.05 s"
    )


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
