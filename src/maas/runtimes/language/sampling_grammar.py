"""Answers that must be JSON, through llguidance: which token may come next.

    schema ─ checked, compact ─▶ grammar ─▶ matcher, one for each choice ─▶ mask of the next token

llguidance builds an automaton as it goes, so that a schema costs what is used of it. It compiles
regular expressions without backtracking, and reads nothing but the schema.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import Feature, Grammar
from maas.runtimes.wording import one_sentence

log = logging.getLogger("maas.language")

LONGEST_BYTES = 256 << 10
"""Of a schema."""
DEEPEST = 60
"""Objects and lists within one another in a schema; llguidance itself stops at 128."""
COMPACT = {"whitespace_flexible": False}
"""No blanks but one after each comma and colon: a weak model can write blanks for ever."""
LEFT = "doesn't satisfy the grammar"
"""llguidance's words for a token that may not come: nothing is wrong with the schema."""
ANY_OBJECT = {"type": "object"}


class Grammars:
    """What may be written, for one model.

    Args:
        tokenizer: the model's `tokenizer.json`.
        vocabulary: how many tokens there are.
        end_tokens: those that end an answer; they come where the JSON is complete.

    Attributes:
        lacks: what cannot be constrained, where llguidance does not know this kind of tokenizer.
    """

    def __init__(self, tokenizer: Path, vocabulary: int, end_tokens: Collection[int]):
        import llguidance

        self._new = llguidance.LLMatcher
        self._tokenizer: Any = None
        self.lacks: frozenset[Feature] = frozenset()
        try:
            self._tokenizer = llguidance.LLTokenizer(
                str(tokenizer), n_vocab=vocabulary, eos_token=list(end_tokens) or None
            )
        except ValueError as error:
            log.warning("answers cannot be constrained to JSON: %s", one_sentence(error))
            self.lacks = frozenset({Feature.JSON, Feature.JSON_SCHEMA})

    def matcher(self, grammar: Grammar) -> Any:
        """An `LLMatcher` at the beginning of an answer.

        Raises:
            MaasError: INVALID_ARGUMENT for a schema that is none, that nothing can satisfy, or
                that has what is not supported here.
        """
        found = self._new(self._tokenizer, grammar_text(grammar), log_level=0)
        if not found.is_error():
            found.compute_bitmask()  # a schema that only points at itself shows here
        if found.is_error() or found.is_stopped():
            raise refused(found)
        return found

    def spelled(self, token: int, text: bytes) -> Sequence[int]:
        """A token as a matcher takes it.

        llguidance takes every added token for one that is no text, such as Qwen's `<tool_call>`;
        where it is text it is spelled in others.

        Args:
            token: that was written.
            text: its bytes.
        """
        if not self._tokenizer.is_special_token(token):
            return (token,)
        spelled: Sequence[int] = self._tokenizer.greedy_tokenize(text.decode(errors="replace"))
        return spelled


def grammar_text(grammar: Grammar) -> str:
    """A grammar in llguidance's own language.

    Raises:
        MaasError: INVALID_ARGUMENT where the schema is not JSON of an object or a truth value, or
            is longer or deeper than is read here.
    """
    schema: Any = ANY_OBJECT
    if grammar.schema is not None:
        size = len(grammar.schema.encode(errors="replace"))
        if size > LONGEST_BYTES:
            raise invalid(f"the schema has {size} bytes; expected {LONGEST_BYTES} at most")
        schema = _parsed(grammar.schema)
    if isinstance(schema, dict):
        schema = {**schema, "x-guidance": COMPACT}
    return "%llguidance {}\nstart: %json " + msgspec.json.encode(schema).decode()


def refused(matcher: Any) -> MaasError:
    """Why a matcher takes nothing more, in one sentence."""
    said = str(matcher.get_error() or "NoExtension")
    if LEFT in said:
        return MaasError(
            ErrorKind.INTERNAL, "the engine wrote what the schema does not allow; ask again"
        )
    if said.startswith("NoExtension"):
        said = "nothing can satisfy it"
    reason = said.partition("failed to compile JSON schema: ")[2] or said
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    reason = next((line[7:] for line in lines if line.startswith("error: ")), lines[0])
    return invalid(f"the schema cannot be followed: {one_sentence(reason)}")


def _parsed(text: str) -> Any:
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise invalid(f"the schema is no JSON: {one_sentence(error)}") from error
    if not isinstance(schema, dict | bool):
        raise invalid("the schema is neither an object nor a truth value")
    level, depth = [schema], 0
    while level := [inner for each in level for inner in _inside(each)]:
        depth += 1
        if depth > DEEPEST:
            raise invalid(f"the schema is nested deeper than {DEEPEST} levels")
    return schema


def _inside(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
