"""Has a loaded language model write: how fast, and what, so that engines can be compared.

Greedy and past the end tokens. Engines are timed on prompts drawn from the vocabulary, and
compared on what people ask: a model that has learnt something is sure of its answers there, while
between tokens drawn at random the rounding of two engines decides.
"""

from __future__ import annotations

import math
import queue
import random
import time
from collections.abc import Sequence
from itertools import takewhile
from statistics import fmean

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import (
    ChatPrompt,
    Delta,
    GenerateRequest,
    Prompt,
    Sampling,
    TextPrompt,
    TokenLogprob,
    TokenPrompt,
)
from maas.core.ports import Generative
from maas.core.records import EngineTiming

CALLERS = 4
QUESTIONS = ("Hello", "What can you do?", "你好，请介绍一下你自己。", "Once upon a time")
"""What engines are compared on."""
ROOM = 256
"""Tokens of a context from which on those fit into it, whatever a template adds."""
COMPARED_TOKENS = 16
PROMPT_TOKENS = 12
WRITTEN_TOKENS = 24
LONGEST_S = 8.0
"""How long one measurement may take: a slow engine writes fewer tokens."""
FIRST_S = 300.0
"""How long the first token may take."""
NEAR, FAR = 0.3, 1.0
"""Two engines that round differently give a token logarithms of its probability this close: the
first where they hardly differ elsewhere, the second however much they do."""
SPREAD = 4.0
"""How many times the usual difference one may be."""
LEAST_LIKELY = math.log(0.5)
"""Where two engines choose different tokens and both are right, neither is more likely than so."""


class Written(Struct, frozen=True):
    """One answer: its tokens, with how likely they were where the engine says so."""

    tokens: tuple[TokenLogprob, ...]


class Trial(Struct, frozen=True):
    """What an engine did.

    Args:
        timing: µs a token with one caller, and with `CALLERS` of them.
        answers: to the same prompts for every engine.
    """

    timing: EngineTiming
    answers: tuple[Written, ...]


class Agreement(Struct, frozen=True):
    """How the answers of two engines compare.

    Args:
        compared: tokens, up to each answer's first near-tie.
        differing: answers that part where it was no near-tie.
        largest: difference of logarithms of probabilities of the same tokens.
        distinct: how many different tokens were written.
    """

    compared: int
    differing: int
    largest: float
    distinct: int


def try_out(
    engine: str, model: Generative, vocabulary: int, most: int, *, chat: bool = False
) -> Trial:
    """Times a model on one caller and on several, and keeps what it wrote.

    Args:
        engine: its name.
        model: as loaded.
        vocabulary: how many tokens it has.
        most: tokens of prompt and answer together.
        chat: whether it is asked through its chat template.

    Raises:
        MaasError: the model's own; DEADLINE_EXCEEDED where it does not begin.
    """
    length = max(1, min(PROMPT_TOKENS, most // 2))
    tokens = max(1, min(WRITTEN_TOKENS, most - length))
    prompts = _prompts(vocabulary, length, len(QUESTIONS) + 1 + CALLERS)
    compared = _questions(chat) if most >= ROOM else prompts[: len(QUESTIONS)]
    _, answers = run(model, compared, min(tokens, COMPARED_TOKENS))
    # Without scores, which some engines ask for again.
    alone, _ = run(model, prompts[len(QUESTIONS) :][:1], tokens, scored=False)
    together, _ = run(model, prompts[len(QUESTIONS) + 1 :], tokens, scored=False)
    timing = EngineTiming(engine, round(alone, 1), round(together, 1), CALLERS)
    return Trial(timing, answers)


def _prompts(vocabulary: int, length: int, count: int) -> list[Prompt]:
    rng = random.Random(0)  # noqa: S311 - the same for every engine, and no secret
    return [
        TokenPrompt(tuple(rng.randrange(vocabulary) for _ in range(length))) for _ in range(count)
    ]


def _questions(chat: bool) -> list[Prompt]:
    if not chat:
        return [TextPrompt(question) for question in QUESTIONS]
    return [
        ChatPrompt(msgspec.json.encode([{"role": "user", "content": question}]))
        for question in QUESTIONS
    ]


def run(
    model: Generative,
    prompts: Sequence[Prompt],
    tokens: int,
    longest_s: float = LONGEST_S,
    *,
    scored: bool = True,
) -> tuple[float, tuple[Written, ...]]:
    """Has it continue prompts, all at once.

    Args:
        model: as loaded.
        prompts: what to continue or answer.
        tokens: of each answer.
        longest_s: when to stop, seconds after the first token.
        scored: whether the answers are kept, with how likely each token was.

    Returns:
        µs a token, all answers together, the reading of the prompts included: tokens of which no
        character is whole yet come late and together, so there is no other moment to count from.
        And the answers, if kept.

    Raises:
        MaasError: the model's own; DEADLINE_EXCEEDED where it does not begin.
    """
    heard: queue.SimpleQueue[tuple[float, int, Delta | MaasError]] = queue.SimpleQueue()

    def deliver(items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        now = time.perf_counter()
        for number, item in items:
            heard.put((now, number, item))

    logprobs = 0 if scored else None
    sampling = Sampling(max_tokens=tokens, temperature=0.0, ignore_end=True, logprobs=logprobs)
    started = last = time.perf_counter()
    for number, prompt in enumerate(prompts):
        model.start(number, GenerateRequest(prompt, sampling), deliver)
    written: dict[int, list[TokenLogprob]] = {number: [] for number in range(len(prompts))}
    pending = set(written)
    began = 0.0
    counted = 0
    try:
        while pending and (not began or last - began < longest_s):
            last, number, item = _next(heard)
            if isinstance(item, MaasError):
                raise item
            counted += item.tokens
            began = began or last
            written[number] += item.logprobs or ()
            if item.usage is not None:
                pending.discard(number)
    finally:
        for number in pending:
            model.cancel(number, deliver)
    if any(not math.isfinite(token.logprob or 0.0) for one in written.values() for token in one):
        raise invalid("it writes no numbers: its weights are damaged, or infinite")
    micros = (last - started) * 1e6 / max(counted, 1)
    return micros, tuple(Written(tuple(answer)) for answer in written.values())


def _next(
    heard: queue.SimpleQueue[tuple[float, int, Delta | MaasError]],
) -> tuple[float, int, Delta | MaasError]:
    try:
        return heard.get(timeout=FIRST_S)
    except queue.Empty:
        raise MaasError(
            ErrorKind.DEADLINE_EXCEEDED, f"it wrote nothing for {FIRST_S:g} s"
        ) from None


def compare_answers(first: Sequence[Written], second: Sequence[Written]) -> Agreement:
    """Compares two engines' answers to the same prompts, token by token.

    Where they part, both tokens must have been about equally likely, and neither the greater part:
    then rounding decides. What comes after has another past, and is not compared. What counts as
    rounding is told by the tokens on which they agree, within bounds: weights of 4 bits in many
    layers leave more to it than those of 16 in few. Nor is anything compared from where one of two
    tokens is a part of a character: llama.cpp tells these when it is whole, cut in its own way.
    """
    pairs = [
        list(takewhile(_can_compare, zip(mine.tokens, theirs.tokens, strict=False)))
        for mine, theirs in zip(first, second, strict=True)
    ]
    shared = [
        list(takewhile(lambda pair: pair[0].token == pair[1].token, answer)) for answer in pairs
    ]
    differences = [_apart(*pair) for answer in shared for pair in answer]
    noise = math.sqrt(fmean(each * each for each in differences)) if differences else 0.0
    near = min(max(NEAR, SPREAD * noise), FAR)
    differing = 0
    for answer, alike in zip(pairs, shared, strict=True):
        wrong = any(_apart(*pair) > near for pair in alike)
        if len(alike) < len(answer):
            one, other = answer[len(alike)]
            likelier = max(_logprob(one), _logprob(other))
            wrong = wrong or _apart(one, other) > near or likelier > LEAST_LIKELY + near
        differing += wrong
    tokens = {token.token for answer in (*first, *second) for token in answer.tokens}
    return Agreement(len(differences), differing, max(differences, default=0.0), len(tokens))


def _can_compare(pair: tuple[TokenLogprob, TokenLogprob]) -> bool:
    one, other = (token.token for token in pair)
    return one == other or (_is_whole(one) and _is_whole(other))


def _is_whole(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def _apart(one: TokenLogprob, other: TokenLogprob) -> float:
    return abs(_logprob(one) - _logprob(other))


def _logprob(token: TokenLogprob) -> float:
    """An engine that does not say how likely its tokens were is compared by these alone."""
    return LEAST_LIKELY if token.logprob is None else token.logprob
