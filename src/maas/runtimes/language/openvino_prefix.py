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
        for name in _names(prompt):
            if name not in self._seen:
                break
            self._seen.move_to_end(name)
            count += BLOCK
        return min(count, max(len(prompt) - 1, 0))

    def keep(self, tokens: Sequence[int]) -> None:
        """Notes that these were computed."""
        for name in _names(tokens):
            self._seen[name] = None
            self._seen.move_to_end(name)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)


def _names(tokens: Sequence[int]) -> Iterator[bytes]:
    """A name for every whole block, together with all before it."""
    name, raw = b"", memoryview(array("q", tokens)).cast("B")
    size = 8 * BLOCK
    for end in range(size, len(raw) + 1, size):
        name = blake2b(raw[end - size : end], key=name, digest_size=16).digest()
        yield name


def alone(prompt: Sequence[int], number: int) -> list[int]:
    """The same prompt under a name that no other has, so that nothing of it is found in the cache.

    OpenVINO tells apart tokens of 64 bits where it looks for known beginnings, and takes 32 of them
    where it computes. The first token has no log-probability, which would be looked up by it.

    Args:
        prompt: at least one token.
        number: of the prompt, from 1.
    """
    return [prompt[0] + (number << 32), *prompt[1:]]
