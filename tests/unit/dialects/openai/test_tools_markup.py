"""Calls in the ways that models write them, however the text is cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.dialects.openai.tools import FORMATS, parser_for
from maas.dialects.openai.tools.events import CallArguments, CallStart, Content, Event, joined
from maas.dialects.openai.tools.forced import ListParser, NamedParser
from maas.dialects.openai.tools.markup import MOST_BLANKS, MOST_CALLS

WEATHER = '{"name": "weather", "arguments": {"city": "大连 \\"}{", "days": [1, 2]}}'
ARGUMENTS = '{"city": "大连 \\"}{", "days": [1, 2]}'
CALL = [CallStart(0, "weather"), CallArguments(0, ARGUMENTS)]


def read(way: str, *pieces: str) -> list[Event]:
    parser = parser_for(way)()
    found: list[Event] = []
    for piece in pieces:
        found += parser.feed(piece)
    return joined([*found, *parser.end()])


def turned(arguments: str) -> str:
    return f'{{"arguments": {arguments}, "name": "weather"}}'


def hermes(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("hermes", hermes(WEATHER)),
        ("hermes", f"\n\n<tool_call>{WEATHER}</tool_call>\n"),
        ("hermes", f"<tool_call>{WEATHER}"),
        ("hermes", f"<tool_call>{WEATHER}</tool_"),
        ("hermes", f"<tool_call>{WEATHER[:-1]}\n</tool_call>"),
        ("hermes", hermes(turned(ARGUMENTS))),
        (
            "hermes",
            hermes('{"id": "x", "n": [{}], "ok": true, ' + WEATHER[1:-1] + ', "z": -1.5e3}'),
        ),
        ("hermes", hermes(WEATHER.replace(ARGUMENTS, json.dumps(ARGUMENTS)))),
        ("hermes", hermes(turned(json.dumps(ARGUMENTS)))),
        ("llama3", WEATHER.replace("arguments", "parameters")),
        ("llama3", f" <|python_tag|>{WEATHER} "),
        ("llama3", '{"type": "function", ' + WEATHER[1:]),
        ("mistral", f"[TOOL_CALLS][{WEATHER}]"),
        ("mistral", f"[TOOL_CALLS] [ {WEATHER} ]\n"),
        ("mistral", f"[TOOL_CALLS] [ {WEATHER}"),
        ("mistral", f"[TOOL_CALLS]weather[ARGS]{ARGUMENTS}"),
        ("mistral", f"[TOOL_CALLS] weather {ARGUMENTS}"),
        ("mistral", f"[TOOL_CALLS]weather[CALL_ID]a1B[ARGS]{ARGUMENTS}\n"),
    ],
)
def test_one_call(way, text):
    assert read(way, text) == CALL
    assert read(way, *text) == CALL


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("hermes", f"Let me see.\n{hermes(WEATHER)}\n{hermes(WEATHER)} Well."),
        ("mistral", f"Let me see.\n[TOOL_CALLS][{WEATHER}, {WEATHER}] Well."),
        (
            "mistral",
            f"Let me see.\n[TOOL_CALLS]weather{ARGUMENTS}\n"
            f"[TOOL_CALLS]weather[ARGS]{ARGUMENTS} Well.",
        ),
    ],
)
def test_several_calls_with_text_around_them(way, text):
    expected = [
        Content("Let me see.\n"),
        *CALL,
        CallStart(1, "weather"),
        CallArguments(1, ARGUMENTS),
        Content(" Well."),
    ]
    assert read(way, text) == expected
    assert read(way, *text) == expected


@pytest.mark.parametrize("between", [";", " ; ", "\n", "; <|python_tag|>"])
def test_several_calls_of_llama(between):
    assert read("llama3", between.join([WEATHER] * 3)) == [
        event
        for index in range(3)
        for event in (CallStart(index, "weather"), CallArguments(index, ARGUMENTS))
    ]


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("hermes", "<tool_call"),
        ("hermes", "a < b <tool_calls> <tool_call>"),
        ("hermes", hermes("")),
        ("hermes", hermes("[]")),
        ("hermes", hermes("{}")),
        ("hermes", hermes('{"name": 1, "arguments": {}}')),
        ("hermes", hermes('{"name": "", "arguments": {}}')),
        ("hermes", hermes('{"name": "\\ud800", "arguments": {}}')),
        ("hermes", hermes('{"name": "f", "arguments": []}')),
        ("hermes", hermes('{"name": "f", "arguments": 1}')),
        ("hermes", hermes('{"name": "f", "arguments": "[]"}')),
        ("hermes", hermes('{"name": "f" "arguments": {}}')),
        ("hermes", hermes('{name: "f"}')),
        ("hermes", hermes('{"n": tru, "name": "f", "arguments": {}}')),
        ("hermes", hermes('{"arguments": {}}')),
        ("hermes", hermes('{"arguments": {}, "arguments": {}, "name": "f"}')),
        ("hermes", hermes('{"name": "f", "name": "f", "arguments": {}}')),
        ("hermes", hermes('{"arguments": %s, "name": "f"}' % ('{"a":' * 101 + "1" + "}" * 101))),
        ("hermes", hermes('{"name": "%s", "arguments": {}}' % ("f" * 257))),
        ("hermes", hermes('{"a": "%s", "name": "f", "arguments": {}}' % ("f" * 70_000))),
        ("llama3", '{"name": "Anna"}'),
        ("llama3", '{"city": "大连"}; {"name": "f", "parameters": {}}'),
        ("llama3", 'Well: {"name": "f", "parameters": {}}'),
        ("llama3", "<|python_tag|>print(1)"),
        ("llama3", "<|python_ta"),
        ("llama3", "  "),
        ("mistral", "[TOOL_CALLS]"),
        ("mistral", "[TOOL_CALLS][]"),
        ("mistral", "[TOOL_CALLS][1]"),
        ("mistral", "[TOOL_CALLS] well, then"),
        ("mistral", "[TOOL_CALLS]f(x){}"),
        ("mistral", "[TOOL_CALLS]%s{}" % ("f" * 257)),
        ("mistral", "[TOOL_CALLS]f%s{}" % (" " * 700)),
        ("mistral", "[TOOL_CALL]f[ARGS]{}"),
    ],
)
def test_what_is_no_call_is_text(way, text):
    assert read(way, text) == [Content(text)]
    assert read(way, *text) == [Content(text)]


def test_a_call_may_follow_what_is_none():
    assert read("hermes", f"<tool_call>{hermes(WEATHER)}") == [Content("<tool_call>"), *CALL]
    assert read("mistral", f"[TOOL_CALLS]no [TOOL_CALLS]weather{ARGUMENTS}") == [
        Content("[TOOL_CALLS]no "),
        *CALL,
    ]
    assert read("llama3", f'{WEATHER}; {{"name": "Anna"}}') == [
        *CALL,
        Content('; {"name": "Anna"}'),
    ]


@pytest.mark.parametrize("cut", [0, 1])
def test_blanks_are_held_back_for_a_while_only(cut):
    def pieces(*parts: str) -> list[str]:
        return list("".join(parts)) if cut else ["".join(parts)]

    many = " " * (MOST_BLANKS + 1)
    called = [CallStart(0, "weather"), CallArguments(0, ARGUMENTS)]
    text = hermes(WEATHER)
    assert read("hermes", *pieces(many, text)) == [Content(many), *called]
    assert read("hermes", *pieces(text, many)) == [*called, Content(many)]
    assert read("hermes", *pieces("<tool_call>", WEATHER, many)) == [*called, Content(many)]
    text = f"[TOOL_CALLS]{many}"
    assert read("mistral", *pieces(text)) == [Content(text)]
    assert read("mistral", *pieces("[TOOL_CALLS][", WEATHER, many)) == [*called, Content(many)]
    assert read("llama3", *pieces(many, WEATHER)) == [Content(many + WEATHER)]
    assert read("llama3", *pieces(WEATHER, ";", many)) == [*called, Content(";" + many)]
    assert feed(ListParser(), pieces(many)) == [Content(many)]
    assert feed(ListParser(), pieces("[", WEATHER, many)) == [*called, Content(many)]
    assert feed(ListParser(), pieces("[", WEATHER, "]", many)) == [*called, Content(many)]


def test_text_is_shown_as_soon_as_it_is_no_marker():
    parser = parser_for("hermes")()
    assert parser.feed("so <tool") == [Content("so ")]
    assert parser.feed("_") == []
    assert parser.feed("x <") == [Content("<tool_x ")]
    assert parser.end() == [Content("<")]


def test_arguments_are_given_as_they_come():
    parser = parser_for("hermes")()
    assert parser.feed('<tool_call>{"name": "f", "arguments": ') == []
    assert parser.feed('{"a"') == [CallStart(0, "f"), CallArguments(0, '{"a"')]
    assert parser.feed(": 1}}</tool_call") == [CallArguments(0, ": 1}")]
    assert parser.end() == []


def test_a_call_without_arguments():
    expected = [CallStart(0, "now"), CallArguments(0, "{}")]
    assert read("hermes", hermes('{"name": "now"}')) == expected
    assert read("mistral", '[TOOL_CALLS][{"name": "now"}]') == expected


def test_arguments_that_break_off():
    assert read("hermes", '<tool_call>{"name": "f", "arguments": {"a": "b') == [
        CallStart(0, "f"),
        CallArguments(0, '{"a": "b'),
    ]
    assert read("hermes", '<tool_call>{"name": "f", "arguments": {} oops') == [
        CallStart(0, "f"),
        CallArguments(0, "{}"),
        Content("oops"),
    ]


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("hermes", hermes(WEATHER)),
        ("mistral", f"[TOOL_CALLS]weather{ARGUMENTS}"),
        ("llama3", WEATHER + ";"),
    ],
)
def test_more_calls_than_are_read(way, text):
    events = read(way, text * (MOST_CALLS + 2))
    assert sum(isinstance(event, CallStart) for event in events) == MOST_CALLS
    assert isinstance(events[-1], Content)
    assert "weather" in events[-1].text


def test_calls_in_a_list_beyond_those_that_are_read():
    events = read("mistral", f"[TOOL_CALLS][{','.join([WEATHER] * (MOST_CALLS + 1))}]")
    assert sum(isinstance(event, CallStart) for event in events) == MOST_CALLS
    assert events[-1] == Content(f",{WEATHER}]")


def feed(parser: NamedParser | ListParser, pieces: Sequence[str]) -> list[Event]:
    found = [event for piece in pieces for event in parser.feed(piece)]
    return joined([*found, *parser.end()])


@pytest.mark.parametrize("cut", [0, 1])
def test_demanded_calls(cut):
    def pieces(text: str) -> Sequence[str]:
        return text if cut else [text]

    assert feed(NamedParser("weather"), pieces(f" {ARGUMENTS}")) == CALL
    assert feed(NamedParser("weather"), pieces("")) == []
    assert feed(ListParser(), pieces(WEATHER)) == CALL
    assert feed(ListParser(), pieces(f"[{WEATHER}]\n")) == CALL
    assert feed(ListParser(), pieces(f"\n[ {WEATHER} ,\n{WEATHER}]")) == [
        *CALL,
        CallStart(1, "weather"),
        CallArguments(1, ARGUMENTS),
    ]
    assert feed(ListParser(), pieces(f"[{WEATHER}, ")) == CALL
    assert feed(ListParser(), pieces(f"[{WEATHER}] so")) == [*CALL, Content(" so")]
    assert feed(ListParser(), pieces('[{"na')) == []  # cut off: nothing to show anybody


SNIPPETS = [
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>"),
    *('{"name": "f", "arguments": {"a": 1}}', '{"name": "g", "parameters": {}}', "f", "[", "]"),
    *('{"name": ', '"f"', ', "arguments": ', '{"a": [1, "}"]}', "{", "}", ",", ";", ":", '"', "\\"),
    *(
        "\n",
        " ",
        "<",
        "<tool",
        "好",
        "😀",
        "well",
        "1",
        "true",
        '"\\u00e9"',
        '"{}"',
        '"id": null, ',
    ),
]
TEXTS = st.lists(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=3)), max_size=14).map(
    "".join
)


@given(way=st.sampled_from(sorted(FORMATS)), text=TEXTS, data=st.data())
def test_how_a_text_is_cut_changes_nothing_and_nothing_is_lost(way, text, data):
    whole = read(way, text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    ends = [0, *cuts, len(text)]
    pieces = [text[a:b] for a, b in pairwise(ends)]
    assert read(way, *pieces) == whole
    assert read(way, *text) == whole
    calls = [event for event in whole if isinstance(event, CallStart)]
    assert [event.index for event in calls] == list(range(len(calls)))
    if not calls:
        assert whole == ([Content(text)] if text else [])
    # What is shown stands in the text, in its order.
    place = 0
    for event in whole:
        if isinstance(event, CallStart):
            place = text.index(json.dumps(event.name)[1:-1] if event.name.isascii() else "", place)
        elif event.text != "{}" and event.text in text[place:]:
            place = text.index(event.text, place) + len(event.text)
        elif isinstance(event, Content):
            # Text around markup that was left out in between is put together.
            for char in event.text:
                place = text.index(char, place) + 1


@given(text=TEXTS, data=st.data())
def test_demanded_calls_are_read_however_they_are_cut(text, data):
    whole = feed(ListParser(), [text])
    cut = data.draw(st.integers(0, len(text)))
    assert feed(ListParser(), [text[:cut], text[cut:]]) == whole
    assert feed(ListParser(), text) == whole
