"""Draws texts from a vectoriser's own vocabulary, and strings from an encoder's categories."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from maas.publish.draw_rows import draw_rows
from maas.runtimes.estimator import Layout, answer, first_steps, outputs_of, rows_for
from maas.runtimes.text import to_bytes

STRANGERS = (
    "zqx",
    "Ünïcode",
    "模型",
    "服务 很好",
    "don't",
    "e-mail",
    "3.14",
    "A",
    "!?",
    "naïve",
    "İSTANBUL",
    "ΟΔΟΣ",
    "ﬁne",
    "x²",
    "हिन्दी",
    "\n",
    "\r\n",
    " \t ",
    "\u3000",
    "#",
)
MOST_WORDS = 20_000
MOST_STOPS = 100


def draw_texts(estimator: Any, count: int, seed: int = 0) -> np.ndarray:
    """Texts [count] (object array of str) made of known terms and of some that are not.

    Terms are joined with spaces where the analyser takes words, without where it takes
    characters; some are upper-cased, and there is an empty and a blank text.
    """
    rng = np.random.default_rng(seed)
    terms: list[str] = []
    by_word = False
    for step in first_steps(estimator):
        terms.extend(str(term) for term in getattr(step, "vocabulary_", ()))
        terms.extend(sorted(step.get_stop_words() or ())[:MOST_STOPS])
        by_word = by_word or step.analyzer in ("word", "char_wb")
    if not terms:  # a hashing vectoriser keeps no vocabulary
        letters = list("abcdefghijklmnop服务模型天气好坏")
        terms = ["".join(rng.choice(letters, rng.integers(1, 6))) for _ in range(500)]
    terms = [terms[i] for i in rng.permutation(len(terms))[:MOST_WORDS]]
    texts = ["", "  "]
    while len(texts) < count:
        words = [str(word) for word in rng.choice(terms, rng.integers(1, 15))]
        if rng.random() < 0.5:
            words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(STRANGERS)))
        text = (" " if by_word or rng.random() < 0.1 else "").join(words)
        texts.append(text.upper() if rng.random() < 0.1 else text)
    return _column([texts[i] for i in rng.permutation(count)])


def draw_words(estimator: Any, width: int, count: int, seed: int = 0) -> np.ndarray:
    """A matrix [count, width] (object array of str) of known categories and unknown ones."""
    rng = np.random.default_rng(seed)
    choices: list[list[str]] = [[] for _ in range(width)]
    for position, values in _choices(estimator):
        choices[position].extend(values)
    columns = [_column([str(v) for v in rng.choice(c or ["a", "b"], count)]) for c in choices]
    return np.stack(columns, axis=1)


def draw_table(estimator: Any, layout: Layout, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """One array [count] for each column of a table of numbers and strings.

    Strings are object arrays of str, numbers float64.
    """
    rng = np.random.default_rng(seed)
    width = layout.width or len(layout.columns)
    words: dict[int, list[str]] = {}
    for position, values in _choices(estimator):
        words.setdefault(position, []).extend(values)
    numbers = draw_rows(estimator, width, count, seed)
    drawn: dict[str, np.ndarray] = {}
    for column in layout.columns:
        if column.text:
            values = words.get(column.position) or ["a", "b"]
            drawn[column.name] = _column([str(v) for v in rng.choice(values, count)])
        else:
            drawn[column.name] = numbers[:, column.position].copy()
    for column in layout.columns:
        if not column.text and _may_be_missing(estimator, layout, drawn, column.name):
            drawn[column.name][rng.random(count) < 0.15] = np.nan
    return drawn


def _may_be_missing(
    estimator: Any, layout: Layout, drawn: dict[str, np.ndarray], name: str
) -> bool:
    """Whether a column of numbers may hold NaN. Found by asking, since tables do not say."""
    row = {column: to_bytes(a[:1]) if a.dtype == object else a[:1] for column, a in drawn.items()}
    row[name] = np.array([np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer(estimator, outputs_of(estimator), rows_for(layout, row))
        except Exception:  # noqa: BLE001  (an estimator may raise anything; that is the answer)
            return False
    return True


def _choices(estimator: Any) -> list[tuple[int, list[str]]]:
    """Position of a column, and strings that may stand in it."""
    found: list[tuple[int, list[str]]] = []
    for step in first_steps(estimator):
        if type(step).__name__ != "ColumnTransformer":
            found.extend(_of_step(step))
            continue
        for name, inner, _ in step.transformers_:
            if isinstance(inner, str):
                continue
            indices = [int(index) for index in step._transformer_to_input_indices[name]]
            found.extend((indices[i], values) for i, values in _choices(inner) if i < len(indices))
    return found


def _of_step(step: Any) -> list[tuple[int, list[str]]]:
    if hasattr(step, "analyzer"):
        return [(0, [str(text) for text in draw_texts(step, 64)])]
    categories = getattr(step, "categories_", None)
    if categories is not None:
        strangers = [] if getattr(step, "handle_unknown", "error") == "error" else ["zqx"]
        return [
            (i, [v for v in values.tolist() if isinstance(v, str)] + strangers)
            for i, values in enumerate(categories)
        ]
    statistics = getattr(step, "statistics_", None)
    if isinstance(statistics, np.ndarray) and statistics.dtype == object:
        return [(i, [value]) for i, value in enumerate(statistics) if isinstance(value, str)]
    return []


def _column(values: list[str]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
