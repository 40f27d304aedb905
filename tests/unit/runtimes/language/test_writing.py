from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.language import BOS, END, START, tiny_card, tiny_tokenizer

from maas.core.generation import Delta, Sampling, TokenLogprob
from maas.runtimes.language.card import TOKENIZER
from maas.runtimes.language.tokens import Vocabulary
from maas.runtimes.language.writing import Writer

CARD = tiny_card()
ENDS = CARD.end_tokens
ID = tiny_tokenizer().token_to_id


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    file: Path = tmp_path_factory.mktemp("words") / TOKENIZER
    tiny_tokenizer().save(str(file))
    return Vocabulary(file, CARD)


def letters(words: Vocabulary, data: bytes) -> list[int]:
    """A token for each byte."""
    tokens = {words.bytes_of(token): token for token in range(words.size)}
    return [tokens[bytes([byte])] for byte in data]


def writer(words: Vocabulary, special: bool = False, **sampling: Any) -> Writer:
    return Writer(3, words, Sampling(**sampling), special, ENDS)


def told(writer: Writer, steps: list[list[int]], logprobs: bool = False) -> list[Delta]:
    """All deltas of a choice; a model that has no more is out of tokens."""
    deltas = []
    for tokens in steps:
        entries = [TokenLogprob(str(t).encode(), -1.0) for t in tokens] if logprobs else None
        delta = writer.add(tokens, entries)
        if delta is not None:
            deltas.append(delta)
        if writer.stopped:
            return deltas
    return [*deltas, writer.end("length")]


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def count(deltas: list[Delta]) -> int:
    return sum(delta.tokens for delta in deltas)


def named(deltas: list[Delta]) -> list[int]:
    return [int(entry.token) for delta in deltas for entry in delta.logprobs or ()]


def test_a_step_is_a_delta(words: Vocabulary) -> None:
    tokens = words.encode("Hello world", special=False)
    deltas = told(writer(words), [[token] for token in tokens])
    assert [delta.tokens for delta in deltas] == [1] * len(tokens) + [0]
    assert [delta.index for delta in deltas] == [3] * len(deltas)
    assert [delta.finish for delta in deltas] == [None] * len(tokens) + ["length"]
    assert text(deltas) == "Hello world"
    assert all(delta.logprobs is None for delta in deltas)


def test_a_step_may_have_several_tokens(words: Vocabulary) -> None:
    tokens = words.encode("Hello world", special=False)
    [first, last] = told(writer(words, logprobs=0), [tokens], logprobs=True)
    assert (first.text, first.tokens, named([first])) == ("Hello world", len(tokens), tokens)
    assert (last.text, last.tokens, last.logprobs) == ("", 0, ())


def test_no_delta_ends_inside_a_character(words: Vocabulary) -> None:
    tokens = letters(words, "a你🙂".encode())
    deltas = told(writer(words, logprobs=0), [[token] for token in tokens], logprobs=True)
    assert [delta.text for delta in deltas] == ["a", "你", "🙂", ""]
    assert [delta.tokens for delta in deltas] == [1, 3, 4, 0]
    assert [len(delta.logprobs or ()) for delta in deltas] == [1, 3, 4, 0]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"a\xff", "a\ufffd"),
        (b"a\xe4\xbd", "a\ufffd"),
        (b"\xe4a", "\ufffda"),
        (b"\xf0\x9f\x99\xe4\xbd\xa0", "\ufffd你"),
        (b"\x80\x80", "\ufffd\ufffd"),
    ],
)
def test_what_is_no_character_is_shown_as_such(words: Vocabulary, data: bytes, shown: str) -> None:
    deltas = told(writer(words), [[token] for token in letters(words, data)])
    assert text(deltas) == shown
    assert count(deltas) == len(data)


def test_an_end_token_stops(words: Vocabulary) -> None:
    end = ID(END)
    tokens = words.encode("Hello", special=False)
    deltas = told(writer(words, logprobs=0), [tokens, [end, *tokens]], logprobs=True)
    assert text(deltas) == "Hello"
    assert deltas[-1].finish == "stop"
    assert count(deltas) == len(tokens) + 1
    assert named(deltas) == tokens


def test_an_end_token_ends_a_character(words: Vocabulary) -> None:
    deltas = told(writer(words), [[*letters(words, b"a\xe4"), ID(BOS)]])
    assert [(delta.text, delta.tokens, delta.finish) for delta in deltas] == [
        ("a\ufffd", 3, "stop")
    ]


def test_stop_tokens_stop(words: Vocabulary) -> None:
    [token] = words.encode("a", special=False)
    chosen = writer(words, stop_tokens=(token,))
    assert text(told(chosen, [letters(words, b"xyazz")])) == "xy"
    assert chosen.stopped


def test_past_an_end_token_where_it_is_asked(words: Vocabulary) -> None:
    tokens = [*letters(words, b"ab"), ID(END), *letters(words, b"c")]
    deltas = told(writer(words, ignore_end=True, special=True), [tokens])
    assert (text(deltas), count(deltas), deltas[-1].finish) == ("abc", 4, "length")


def test_control_tokens_are_shown_where_it_is_asked(words: Vocabulary) -> None:
    tokens = [ID(START), ID("<tool_call>"), *letters(words, b"c")]
    hidden = told(writer(words, logprobs=0), [[token] for token in tokens], logprobs=True)
    assert [(delta.text, delta.tokens) for delta in hidden] == [
        ("<tool_call>", 2),
        ("c", 1),
        ("", 0),
    ]
    assert named(hidden) == tokens
    assert text(told(writer(words, special=True), [tokens])) == "<|im_start|><tool_call>c"


STOPS = [
    (("cd",), "abcdef", "ab"),
    (("abc",), "ababc", "ab"),
    (("aab",), "aaab", "a"),
    (("zz",), "abcz", "abcz"),
    (("abcd", "bc"), "xabcd", "xa"),
    (("bc", "abc"), "xabc", "x"),
    (("你好",), "a你你好b", "a你"),
    (("\n\n", "\nEnd"), "a\n\nb", "a"),
    (("\n\n", "\nEnd"), "a\nEnb", "a\nEnb"),
    (("a",), "abc", ""),
    (("\ufffd",), "a\udcffb", "a"),
]


@pytest.mark.parametrize(("stops", "written", "shown"), STOPS)
@pytest.mark.parametrize("step", [1, 2, 100])
def test_stop_strings_are_never_shown(
    words: Vocabulary, stops: tuple[str, ...], written: str, shown: str, step: int
) -> None:
    tokens = letters(words, written.encode(errors="surrogateescape"))
    steps = [tokens[i : i + step] for i in range(0, len(tokens), step)]
    chosen = writer(words, stop=stops, logprobs=0)
    deltas = told(chosen, steps, logprobs=True)
    assert text(deltas) == shown
    assert chosen.stopped == (shown != written)
    assert deltas[-1].finish == ("stop" if chosen.stopped else "length")
    assert named(deltas) == tokens[: len(shown.encode())]
    assert count(deltas) >= len(named(deltas))


def test_what_may_begin_a_stop_string_waits_with_its_tokens(words: Vocabulary) -> None:
    chosen = writer(words, stop=("\nUser:",), logprobs=0)
    parts: list[tuple[str, int] | None] = []
    for token in letters(words, b"ab\nUs!\nUser"):
        delta = chosen.add([token], [TokenLogprob(b"%d" % token, -1.0)])
        parts.append(delta and (delta.text, len(delta.logprobs or ())))
    assert parts == [("a", 1), ("b", 1), None, None, None, ("\nUs!", 4), *[None] * 5]
    last = chosen.end("length")
    assert (last.text, last.tokens, len(last.logprobs or ())) == ("\nUser", 5, 5)


def test_a_token_that_is_held_in_part_is_counted_when_it_is_shown(words: Vocabulary) -> None:
    [token] = words.encode("hello", special=False)[:1]
    word = words.bytes_of(token).decode()
    chosen = writer(words, stop=(word[-1] + "!",), logprobs=0)
    first = chosen.add([token], [TokenLogprob(word.encode(), -1.0)])
    assert first is not None
    assert (first.text, first.tokens, first.logprobs) == (word[:-1], 0, ())
    last = chosen.end("length")
    assert (last.text, last.tokens, len(last.logprobs or ())) == (word[-1], 1, 1)


def test_a_stop_string_may_be_complete_only_at_the_end(words: Vocabulary) -> None:
    chosen = writer(words, stop=("\ufffd",))
    assert chosen.add(letters(words, b"\xe4"), None) is None
    last = chosen.end("length")
    assert (last.text, last.tokens, last.finish) == ("", 1, "stop")


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=12) | st.text("ab你🙂", max_size=12).map(str.encode),
    stops=st.lists(st.text("ab你\ufffd", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.booleans(), min_size=48, max_size=48),
)
def test_how_tokens_come_changes_nothing(
    words: Vocabulary, data: bytes, stops: list[str], cuts: list[bool]
) -> None:
    tokens = letters(words, data)
    steps: list[list[int]] = [[]]
    for token, cut in zip(tokens, cuts, strict=False):
        steps[-1].append(token)
        if cut:
            steps.append([])
    chosen = writer(words, stop=tuple(stops), logprobs=0)
    deltas = told(chosen, steps, logprobs=True)
    whole = data.decode(errors="replace")
    found = [(whole.find(s) + len(s), whole.find(s)) for s in stops if s in whole]
    shown = whole[: min(found)[1]] if found else whole
    assert text(deltas) == shown
    assert (deltas[-1].finish == "stop") == bool(found)
    assert all(delta.finish is None for delta in deltas[:-1])
    assert all(delta.text for delta in deltas[:-1])
    if not found:
        assert (count(deltas), named(deltas)) == (len(tokens), tokens)
    else:
        assert named(deltas) == tokens[: len(named(deltas))]
        assert len(named(deltas)) <= count(deltas) <= len(tokens)
