"""What an engine of language models is to the scheduler: token ids in, token ids out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from maas.core.errors import MaasError
from maas.core.generation import Feature, FinishReason, GenerateRequest, TokenLogprob


class Piece(Struct, gc=False):
    """What a step gave to one choice.

    Args:
        key: the choice's, as it was added.
        tokens: what was written; an end token may be the last one.
        logprobs: of those tokens, one each; None where they were not asked for.
        finish: why the choice ends with these tokens: `length` where its `max_tokens` are written,
            `stop` for an end token or a complete grammar; None where it goes on.
        error: why it ends without more; nothing else of this piece counts then.
        prompt_logprobs: of the prompt's tokens, one each, with the choice's first piece; None
            where they were not asked for.
        cached_tokens: how many of the prompt's were known from earlier calls; in the first piece.
    """

    key: int
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    finish: FinishReason | None = None
    error: MaasError | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    cached_tokens: int = 0


class Backend(Protocol):
    """One engine with one model. All calls come from one thread, one at a time.

    Attributes:
        lacks: what it cannot do; nothing of it is asked.
    """

    lacks: frozenset[Feature]

    @property
    def worn(self) -> bool:
        """Whether it has taken memory that only the end of its process gives back."""
        ...

    def add(self, key: int, prompt: list[int], request: GenerateRequest, seed: int) -> None:
        """Takes one choice; it runs with the next step.

        Args:
            key: names it in pieces; unique among those that run.
            prompt: at least one token.
            request: how to choose tokens; `sampling.max_tokens` is a number, and its prompt,
                `choices` and `sampling.seed` are not looked at.
            seed: 0 to 2⁶³-1.

        Raises:
            MaasError: INVALID_ARGUMENT where it cannot be done, such as an impossible schema.
        """
        ...

    def step(self) -> Sequence[Piece]:
        """Does one step of everything that runs; called only while something does.

        May give nothing, where prompts are still being read. A piece with `finish` or `error`
        frees its key.

        Raises:
            Exception: the engine is broken; nothing is asked of it any more.
        """
        ...

    def cancel(self, key: int) -> None:
        """Frees a choice: it takes no part in the next step. Unknown keys are ignored."""
        ...

    def kv_used(self) -> float:
        """What part of the KV cache is in use, 0 to 1."""
        ...

    def close(self) -> None:
        """Gives memory and threads back; called once, with nothing running."""
        ...
