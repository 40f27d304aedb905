"""What llama.cpp says about one choice, token by token.

A message comes for each token but those that end inside a character: their bytes come with the
next token's, and only the count tells that they were. Here they are found again.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from maas.runtimes.language.tokens import Vocabulary

FIRST_OF_THREE = 0xE0
"""From this byte on a character takes three bytes or four."""


class Candidate(Struct):
    """A token and how likely it was. `bytes` are none for control tokens."""

    id: int
    bytes: list[int]
    logprob: float
    top_logprobs: list[Candidate] = []


class Candidates(Struct):
    """The tokens of a message: the last one written."""

    content: list[Candidate] = []


class Choice(Struct):
    """The only answer in a message."""

    logprobs: Candidates | None = None
    finish_reason: str | None = None


class Timings(Struct):
    """`cache_n` tokens of the prompt were known, `predicted_n` tokens have been written."""

    cache_n: int = 0
    predicted_n: int = 0


class Refusal(Struct):
    """Why there is no answer."""

    code: int = 500
    message: str = ""


class Message(Struct):
    """One message; one without tokens and without an end says how far the prompt is."""

    choices: list[Choice] = []
    timings: Timings | None = None
    error: Refusal | None = None

    @property
    def token(self) -> Candidate | None:
        """The token it is about."""
        if self.choices and (found := self.choices[0].logprobs) and found.content:
            return found.content[0]
        return None

    @property
    def finish(self) -> str | None:
        """Why the answer ends with it."""
        return self.choices[0].finish_reason if self.choices else None


read_message = msgspec.json.Decoder(Message).decode


class Gaps:
    """Tokens that ended inside a character, from the bytes that came with the next.

    Args:
        vocabulary: of the model.
    """

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._ids: dict[bytes, int] = {}
        self._control = min(vocabulary.controls, default=0)
        begins = (t for t in range(vocabulary.size) if _only_begins(vocabulary.bytes_of(t)))
        self.unreadable = next(begins, self._control)
        """A token that begins a character and no more."""

    def tokens(self, token: Candidate, count: int) -> list[int]:
        """All tokens of a message: those before the one it names, and that one.

        Args:
            token: the one it names, with the bytes of all.
            count: how many there are.

        Returns:
            `count` tokens with these bytes. Where bytes can be cut in several ways the longest
            tokens come first, as tokenisers do it.
        """
        if count == 1:
            return [token.id]
        raw = bytes(token.bytes)
        own = self._vocabulary.bytes_of(token.id)
        if token.id in self._vocabulary.controls or not raw.endswith(own):
            own = b""
        return [*self._cut(raw[: len(raw) - len(own)], count - 1), token.id]

    def _cut(self, raw: bytes, count: int) -> list[int]:
        """Bytes as so many tokens; a control token has none."""
        if not self._ids:
            controls = self._vocabulary.controls
            self._ids = {
                self._vocabulary.bytes_of(token): token
                for token in range(self._vocabulary.size)
                if token not in controls
            }
        for pieces in range(min(count, len(raw)), -1, -1):
            if (found := self._pieces(raw, pieces)) is not None:
                return [*found, *[self._control] * (count - pieces)]
        return [self._control] * count

    def _pieces(self, raw: bytes, count: int) -> list[int] | None:
        if count == 0:
            return None if raw else []
        for end in range(len(raw) - count + 1, 0, -1):
            first = self._ids.get(raw[:end])
            if first is not None:
                rest = self._pieces(raw[end:], count - 1)
                if rest is not None:
                    return [first, *rest]
        return None


def _only_begins(text: bytes) -> bool:
    return len(text) == 1 and text[0] >= FIRST_OF_THREE
