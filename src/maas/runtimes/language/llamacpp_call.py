"""One choice in llama.cpp's words, and the thread that waits for it."""

from __future__ import annotations

import queue
from collections import Counter
from typing import Any

import msgspec

from maas.core.generation import GenerateRequest, Sampling
from maas.runtimes.language.llamacpp_stream import Message, read_message
from maas.runtimes.language.sampling_grammar import grammar_text

AHEAD_TOKENS = 64
"""Room that a choice holds beyond what it has written."""
SPARE_TOKENS = 4
"""Asked for beyond the last one, since a token that ends inside a character comes with the next."""
ALL_TOKENS = 1 << 20
"""Penalties look at so many tokens back."""
SEEDS = 0xFFFFFFFF
"""llama.cpp's seeds have 32 bits, and this one means any."""


class Call:
    """One choice."""

    def __init__(
        self, key: int, prompt: list[int], request: GenerateRequest, seed: int, guard: Any
    ):
        self.key = key
        self.prompt = prompt
        self.request = request
        self.seed = seed
        self.guard = guard
        self.most = request.sampling.max_tokens or 0
        self.written: list[int] = []
        self.told_cached = False
        self.crowded = 0
        self.attempt: Attempt | None = None

    @property
    def held(self) -> int:
        """Tokens of the KV cache that are its own. One that must be JSON cannot step back."""
        ahead = self.most if self.guard else min(self.most, len(self.written) + AHEAD_TOKENS)
        tokens = len(self.prompt) + ahead + SPARE_TOKENS
        return 2 * tokens if self.request.sampling.logprobs is not None else tokens


class Attempt:
    """One run of a choice in the library; its messages count only while it is the choice's."""

    def __init__(self, call: Call, first: int):
        self.call = call
        self.first = first
        self.seen = 0
        self.over = False
        self._left = 0

    def leave(self) -> None:
        """Nobody waits for it any more; it has its room until the library lets go of it."""
        self._left = self.held
        self.over = True
        self.call.attempt = None

    @property
    def held(self) -> int:
        """Tokens of the KV cache that are its own."""
        return self._left or self.call.held


Arrival = tuple[Attempt, Message | Exception | None]
"""What came for a run: a message, what the library raised, or None where it returned."""


def body_of(call: Call) -> str:
    """What is asked of the library, as JSON."""
    sampling, grammar = call.request.sampling, call.request.grammar
    bias = dict(sampling.logit_bias or {})
    if sampling.frequency_penalty:  # the library counts the prompt's tokens, too: given back here
        for token, count in Counter(call.prompt).items():
            bias[token] = bias.get(token, 0.0) + count * sampling.frequency_penalty
    asked = {
        "prompt": call.prompt + call.written,
        "n_predict": call.most - len(call.written) + SPARE_TOKENS,
        "stream": True,
        "timings_per_token": True,
        "return_progress": True,
        "post_sampling_probs": False,
        "n_probs": max(1, sampling.logprobs or 0),  # also what brings ids and bytes
        # Numbers differ in their last digits with how a prompt is read: a seed reads it anew.
        "cache_prompt": sampling.seed is None,
        "seed": (call.seed + len(call.written)) % SEEDS,
        "ignore_eos": sampling.ignore_end and grammar is None,
        "logit_bias": list(bias.items()),
        **({"grammar": grammar_text(grammar)} if grammar else {}),
        **_samplers(sampling),
    }
    return msgspec.json.encode(asked).decode()


def run(
    server: Any,
    body: str,
    attempt: Attempt,
    arrived: queue.SimpleQueue[Arrival],
) -> None:
    """Waits for one choice, in a thread of its own.

    The library stops when its callback says so: at the last token at once, so that the place is
    free, and what it knows of the prompt is at hand, when the caller asks on.
    """
    left = attempt.call.most - attempt.first

    def take(text: str) -> bool:
        if attempt.over:
            return True
        message = read_message(text)
        arrived.put((attempt, message))
        return message.timings is not None and message.timings.predicted_n >= left

    try:
        server.handle_completions(body, take)
        arrived.put((attempt, None))
    except Exception as error:  # noqa: BLE001 - raised again by `step`
        arrived.put((attempt, error))


def _samplers(sampling: Sampling) -> dict[str, Any]:
    """How tokens are chosen, in the order that the other engines have."""
    chosen: dict[str, Any] = {
        "repeat_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "repeat_last_n": ALL_TOKENS,
    }
    if sampling.temperature <= 0:
        return chosen | {"temperature": 0.0, "top_k": 1, "samplers": ["penalties", "top_k"]}
    return chosen | {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
    }
