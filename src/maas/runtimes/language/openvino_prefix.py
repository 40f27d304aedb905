"""What an engine remembers of prompts: OpenVINO GenAI uses it, and does not tell.

It keeps the KV cache of whole blocks of tokens, and finds them again by the tokens from a prompt's
beginning. The same is kept here, without the cache itself: which beginnings were seen lately.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import blake2b

BLOCK = 32
"""Tokens of one block of OpenVINO's KV cache on a CPU."""


class Prefixes:
    """Which beginnings of prompts have their KV cache; an estimate.

    It can be too low, since OpenVINO also finds the last block of an earlier prompt where it is
    not full, and too high, since it drops blocks in an order of its own once it needs room.

    Args:
        blocks: of the KV cache; the beginnings used longest ago are forgotten past it.
    """

    def __init__(self, blocks: int):
        self._most = max(blocks, 1)
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def known(self, prompt: Sequence[int]) -> int:
        """How many of its first tokens need not be computed; the last one always is."""
        count = 0
        for name in _blocks(prompt):
            if name not in self._seen:
                break
            self._seen.move_to_end(name)
            count += BLOCK
        return min(count, max(len(prompt) - 1, 0))

    def keep(self, tokens: Sequence[int]) -> None:
        """Notes that these were computed."""
        for name in _blocks(tokens):
            self._seen[name] = None
            self._seen.move_to_end(name)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)


class Scores:
    """Log-probabilities of the tokens of scored prompts.

    OpenVINO gives none for the part of a prompt that it found in its cache. Scored prompts find
    only one another there, so what is missing was given before, and is kept here.

    Args:
        tokens: of the KV cache; twice as many log-probabilities are kept.
    """

    def __init__(self, tokens: int):
        self._most = 2 * max(tokens, BLOCK)
        self._known: OrderedDict[bytes, float] = OrderedDict()

    def keep(self, name: bytes, tokens: Sequence[int], logprobs: Sequence[float]) -> bytes:
        """Notes the log-probability of each token after those before it.

        Args:
            name: of what is before them, as an earlier call gave it; empty for nothing.
            tokens: what follows.
            logprobs: one for each.

        Returns:
            The name of it all.
        """
        last = name
        for last, logprob in zip(_names(tokens, 1, name), logprobs, strict=True):
            self._known[last] = logprob
            self._known.move_to_end(last)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return last

    def recall(self, tokens: Sequence[int]) -> list[float] | None:
        """Those of a prompt's beginning; None where one has been forgotten."""
        found = [self._known.get(name) for name in _names(tokens, 1)]
        known = [logprob for logprob in found if logprob is not None]
        return known if len(known) == len(found) else None


def _blocks(tokens: Sequence[int]) -> Iterator[bytes]:
    return _names(tokens[: len(tokens) // BLOCK * BLOCK], BLOCK)


def _names(tokens: Sequence[int], size: int, name: bytes = b"") -> Iterator[bytes]:
    """A name for every `size` tokens together with all before them, which have `name`."""
    raw = memoryview(array("q", tokens)).cast("B")
    for start in range(0, len(raw), 8 * size):
        name = blake2b(raw[start : start + 8 * size], key=name, digest_size=16).digest()
        yield name
