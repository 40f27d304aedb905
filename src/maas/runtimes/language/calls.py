"""Calls of a language model on their way through it."""

from __future__ import annotations

import secrets
from hashlib import blake2b

import msgspec
from msgspec import Struct

from maas.core.errors import MaasError
from maas.core.generation import Delta, GenerateRequest, TextPrompt, TokenLogprob
from maas.core.ports import Deliver, GenerationBounds
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.tokens import Vocabulary
from maas.runtimes.language.writing import Writer

Deltas = list[tuple[int, Delta | MaasError]]
Outbox = dict[Deliver, Deltas]
"""What one step gave, by where it goes."""


class Call:
    """One request on its way. The lock of its model guards `waiting` and `ended`."""

    def __init__(self, number: int, request: GenerateRequest, deliver: Deliver):
        self.number = number
        self.request = request
        self.deliver = deliver
        self.prompt: list[int] = []
        self.seed = 0
        self.waiting = request.choices
        """Choices that have no place yet."""
        self.open = request.choices
        """Choices that have not ended."""
        self.ended = False
        """Nothing is delivered any more."""
        self.keys: set[int] = set()
        """Of its choices in the backend."""
        self.written = 0
        self.cached = 0


class Choice(Struct, gc=False):
    """One answer that is being written."""

    call: Call
    index: int
    writer: Writer
    begun: bool = False


def prepare(call: Call, prompter: Prompter, bounds: GenerationBounds, context: int) -> None:
    """Makes a call's tokens, and settles what its request leaves open.

    Raises:
        MaasError: as `Prompter.tokens`.
    """
    request = call.request
    call.prompt = prompter.tokens(request)
    room = max(0, context - len(call.prompt))
    asked = request.sampling.max_tokens
    if asked is None:
        asked = bounds.max_tokens or room
    sampling = msgspec.structs.replace(request.sampling, max_tokens=min(asked, room))
    call.request = msgspec.structs.replace(request, sampling=sampling)
    seed = request.sampling.seed
    call.seed = secrets.randbits(63) if seed is None else seed


def echoed(
    call: Call,
    index: int,
    logprobs: tuple[TokenLogprob, ...] | None,
    vocabulary: Vocabulary,
) -> Delta:
    """The prompt as the first delta of a choice; its tokens are no completion's."""
    prompt = call.request.prompt
    if isinstance(prompt, TextPrompt):
        text = prompt.text
    else:
        text = b"".join(map(vocabulary.bytes_of, call.prompt)).decode(errors="replace")
    return Delta(index, text, 0, logprobs)


def scores_prompt(request: GenerateRequest) -> bool:
    """Whether the prompt's own log-probabilities are asked for."""
    return request.echo and request.sampling.logprobs is not None


def derived_seed(seed: int, index: int) -> int:
    """The seed of one choice: the call's own for the first, others that follow from it."""
    if index == 0:
        return seed & (1 << 63) - 1
    digest = blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def joined(first: Delta | None, last: Delta) -> Delta:
    """Both deltas of one step in one."""
    if first is None:
        return last
    logprobs = None
    if first.logprobs is not None or last.logprobs is not None:
        logprobs = (*(first.logprobs or ()), *(last.logprobs or ()))
    tokens = first.tokens + last.tokens
    return Delta(last.index, first.text + last.text, tokens, logprobs, last.finish)
