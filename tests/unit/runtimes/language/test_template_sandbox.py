from __future__ import annotations

import threading

import pytest
from tests.unit.runtimes.language.rendering import refusal, written

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
    threads = set(threading.enumerate())
    refusal(lambda: written(BOMBS[bomb], seconds=0.1))
    assert set(threading.enumerate()) <= threads


def test_a_chain_of_namespaces_comes_apart() -> None:
    source = "{% set ns = namespace(x=0) %}{% for a in range(99999) %}{% set ns.x ="
    assert written(source + " namespace(x=ns.x) %}{% endfor %}done") == "done"


def test_time_is_told() -> None:
    assert refusal(lambda: written(BOMBS["loops"], seconds=0.05)) == (
        "the chat template took longer than 0.05 s"
    )
