"""Choosing tokens from logits, and schemas from anybody."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.language import tiny_card, tiny_tokenizer

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Feature, Grammar, Sampling
from maas.runtimes.language.sampling import History, adjusted, candidates, chosen, likelihoods
from maas.runtimes.language.sampling_grammar import DEEPEST, LONGEST_BYTES, Grammars, grammar_text

ROWS = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-30, 30, width=32))


def nothing(size: int) -> History:
    return History(Sampling(), size, ())


@given(ROWS)
def test_temperature_zero_takes_the_likeliest(row: np.ndarray) -> None:
    assert chosen(row, Sampling(temperature=0), np.random.default_rng(0)) == row.argmax()


@given(ROWS, st.integers(0, 2**63 - 1), st.floats(0.01, 5), st.floats(0.01, 1), st.integers(0, 50))
def test_a_seed_repeats_and_truncation_holds(
    row: np.ndarray, seed: int, temperature: float, top_p: float, top_k: int
) -> None:
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
    first, second = (chosen(row, sampling, np.random.default_rng(seed)) for _ in range(2))
    assert first == second
    allowed, _ = candidates(row, sampling)
    assert first in allowed
    assert row.argmax() in allowed or row[allowed].max() == row.max()
    if top_k:
        assert len(allowed) <= top_k


@given(ROWS, st.floats(0.05, 0.99))
def test_top_p_is_the_smallest_set_that_reaches_it(row: np.ndarray, top_p: float) -> None:
    kept, shares = candidates(row, Sampling(top_p=top_p))
    exact = np.exp(row.astype(np.float64) - row.max())
    exact /= exact.sum()
    assert shares.sum() >= top_p - 1e-9
    assert exact[kept].sum() - exact[kept].min() < top_p + 1e-9
    others = np.delete(exact, kept)
    assert not len(others) or others.max() <= exact[kept].min() + 1e-12


def test_min_p_is_relative_to_the_likeliest() -> None:
    row = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    kept, _ = candidates(row, Sampling(min_p=0.25))
    assert sorted(kept) == [0, 1, 2]


def test_draws_follow_the_distribution() -> None:
    row = np.log(np.array([0.6, 0.3, 0.1], np.float32))
    random = np.random.default_rng(7)
    drawn = Counter(chosen(row, Sampling(), random) for _ in range(4000))
    assert [round(drawn[token] / 4000, 1) for token in range(3)] == [0.6, 0.3, 0.1]


def test_a_token_that_must_not_come_never_does() -> None:
    row = np.array([-np.inf, 0, -np.inf, 0], np.float32)
    random = np.random.default_rng(1)
    assert {chosen(row, Sampling(temperature=5.0), random) for _ in range(50)} == {1, 3}


def test_penalties_count_what_was_written() -> None:
    row = np.array([2.0, 2.0, -2.0, 1.0], np.float32)
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    history = History(sampling, 4, [0, 0, 3])
    for token in (1, 1, 2):
        history.write(token)
    assert adjusted(row, sampling, history).tolist() == [2.0, 1.0, -2.75, 1.0]
    assert row.tolist() == [2.0, 2.0, -2.0, 1.0]


def test_repetition_counts_the_prompt_too() -> None:
    row = np.array([2.0, 2.0, -2.0, 1.0], np.float32)
    sampling = Sampling(repetition_penalty=2.0)
    history = History(sampling, 4, [0])
    history.write(2)
    assert adjusted(row, sampling, history).tolist() == [1.0, 2.0, -4.0, 1.0]


def test_bias_is_added_and_unknown_tokens_are_left() -> None:
    row = np.zeros(3, np.float32)
    sampling = Sampling(logit_bias={1: 2.0, 99: 5.0})
    assert adjusted(row, sampling, nothing(3)).tolist() == [0.0, 2.0, 0.0]


@given(ROWS, st.integers(0, 60))
def test_likelihoods_are_those_of_the_whole(row: np.ndarray, most: int) -> None:
    token = len(row) // 2
    value, top = likelihoods(row, token, most)
    assert value <= 1e-9
    assert len(top) == min(most, len(row))
    assert [each for _, each in top] == sorted((each for _, each in top), reverse=True)
    if most >= len(row):
        assert abs(sum(np.exp(each) for _, each in top) - 1) < 1e-9
        assert dict(top)[token] == value


@pytest.fixture(scope="module")
def grammars(tmp_path_factory: pytest.TempPathFactory) -> Grammars:
    file = tmp_path_factory.mktemp("grammars") / "tokenizer.json"
    tiny_tokenizer().save(str(file))
    card = tiny_card()
    return Grammars(file, card.vocabulary, card.end_tokens)


LOOP = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
REFUSED: dict[str, tuple[Any, str]] = {
    "itself": ({"$ref": "#"}, "nothing can satisfy it"),
    "loop": (LOOP, "nothing can satisfy it"),
    "nowhere": ({"$ref": "#/$defs/none"}, "does not exist"),
    "http": ({"$ref": "http://127.0.0.1:9/x.json"}, "does not fetch"),
    "file": ({"$ref": "file:///etc/passwd"}, "does not fetch"),
    "false": (False, "schema is false"),
    "bounds": ({"type": "integer", "minimum": 5, "maximum": 3}, "greater than maximum"),
    "types": ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "incompatible types"),
    "no values": ({"enum": []}, "is empty"),
    "not": ({"not": {}}, "Unimplemented keys"),
    "if": ({"if": {"type": "string"}}, "Unimplemented keys"),
    "a type that is none": ({"type": "nonsense"}, "Invalid type"),
    "regex": ({"type": "string", "pattern": "("}, "unclosed group"),
    "look-ahead": ({"type": "string", "pattern": "^(?=x)"}, "not supported"),
    "a number": (5, "neither an object nor a truth value"),
    "a text": ("x", "neither an object nor a truth value"),
}
TAKEN: dict[str, Any] = {
    "anything": {},
    "tree": {"type": "object", "properties": {"c": {"type": "array", "items": {"$ref": "#"}}}},
    "nested repeats": {"type": "string", "pattern": "^((((a{1,1000}){1,1000}){1,1000}){1,1000})$"},
    "stars": {"type": "string", "pattern": "^(a+)+$"},
    "wide": {"properties": {f"k{i}": {"type": "integer"} for i in range(2000)}, "type": "object"},
    "values": {"enum": ["你好", "世界", 1, None, {"a": 1}]},
    "options of its own": {"type": "object", "x-guidance": {"whitespace_flexible": True}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_schemas_that_cannot_be_followed(grammars: Grammars, name: str) -> None:
    schema, reason = REFUSED[name]
    with pytest.raises(MaasError, match=reason) as caught:
        grammars.matcher(Grammar(json.dumps(schema)))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("name", TAKEN)
def test_schemas_that_can(grammars: Grammars, name: str) -> None:
    assert not grammars.matcher(Grammar(json.dumps(TAKEN[name]))).is_error()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON"),
        ('{"items":' * 5000 + "{}" + "}" * 5000, "no JSON"),
        ('{"items":' * (DEEPEST + 1) + "{}" + "}" * (DEEPEST + 1), "deeper than 60 levels"),
        (json.dumps({"enum": ["x" * LONGEST_BYTES]}), "expected 262144 at most"),
        ('{"enum": ["\ud800"]}', "no JSON"),
    ],
    ids=["cut", "very deep", "deep", "long", "surrogate"],
)
def test_texts_that_are_no_schema(grammars: Grammars, text: str, reason: str) -> None:
    with pytest.raises(MaasError, match=reason) as caught:
        grammars.matcher(Grammar(text))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_schema_or_refused(text: str) -> None:
    with contextlib.suppress(MaasError):
        assert grammar_text(Grammar(text)).startswith("%llguidance")


def test_a_tokenizer_that_is_not_known_lacks_grammars(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    grammars = Grammars(tmp_path / "tokenizer.json", 10, [1])
    assert grammars.lacks == {Feature.JSON, Feature.JSON_SCHEMA}
