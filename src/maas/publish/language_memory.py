"""Whether a language model fits into this machine's memory: weights, KV cache, what engines need.

The figures are upper bounds: two bytes for each number of the KV cache, where some engines take
one.
"""

from __future__ import annotations

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.sandbox import available_bytes

MIB = 1 << 20
KV_BYTES = 2
"""Of one number in the KV cache."""
WORKING = 256 * MIB
"""Of an engine beside its weights: its code, its buffers, the logits of a step."""
KV_PART = 4
"""The KV cache takes at most this part of the memory that is free, as where it will serve."""
STEP = 256
"""Contexts are suggested in multiples of so many tokens."""
LEAST_CONTEXT = 16
SPARE_TOKENS = 16
"""Engines keep blocks of tokens, or a few beyond an answer."""


class MemoryPlan(Struct, frozen=True):
    """What a language model takes.

    Args:
        weight_bytes: of the weights.
        kv_token: bytes of one token in the KV cache.
        context_tokens: of one conversation, at most.
        free_bytes: of memory now.
    """

    weight_bytes: int
    kv_token: int
    context_tokens: int
    free_bytes: int

    @property
    def kv_bytes(self) -> int:
        """One conversation that fills its context."""
        return self.kv_token * (self.context_tokens + SPARE_TOKENS)

    def describe(self) -> str:
        """The figures, one clause."""
        return (
            f"weights of {_mib(self.weight_bytes)}, a KV cache of {_mib(1000 * self.kv_token)} "
            f"for each 1,000 tokens, {_mib(self.kv_bytes)} for the whole context of "
            f"{self.context_tokens:,} tokens"
        )


def plan_memory(
    weight_bytes: int, kv_numbers: int, own_context: int, asked: int, free: int | None = None
) -> MemoryPlan:
    """Plans the memory of a model.

    Args:
        weight_bytes: of all its weights.
        kv_numbers: of one token in the KV cache, all blocks together.
        own_context: tokens that it was made for.
        asked: a smaller context, or 0.
        free: bytes of memory; None to look.

    Raises:
        MaasError: FAILED_PRECONDITION, with the figures, where one context does not fit;
            INVALID_ARGUMENT for a context larger than its own.
    """
    if asked > own_context:
        raise invalid(
            f"a context of {asked} tokens was asked for; the model was made for {own_context}"
        )
    if 0 < asked < LEAST_CONTEXT:
        raise invalid(f"a context of {asked} tokens holds no answer; {LEAST_CONTEXT} is the least")
    free = available_bytes() if free is None else free
    plan = MemoryPlan(weight_bytes, KV_BYTES * kv_numbers, asked or own_context, free)
    left = free - weight_bytes - WORKING
    room = min(left, free // KV_PART)
    if plan.kv_bytes <= room:
        return plan
    fitting = (room // max(plan.kv_token, 1) - SPARE_TOKENS) // STEP * STEP
    if left <= 0 or fitting < STEP:
        advice = "publish a smaller model, or one with smaller numbers (--quantize q4_0)"
    else:
        advice = f"publish it with --context {fitting}"
    raise MaasError(
        ErrorKind.FAILED_PRECONDITION,
        f"the model does not fit into memory: {plan.describe()}, and {_mib(WORKING)} to work with, "
        f"where {_mib(free)} are free and {_mib(max(room, 0))} of them for the KV cache; {advice}",
    )


def _mib(count: int) -> str:
    return f"{count / MIB:,.1f} MiB" if count < 10 * MIB else f"{count / MIB:,.0f} MiB"
