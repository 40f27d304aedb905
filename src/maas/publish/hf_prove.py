"""Proves a lowered language model: the weights against the published ones, engines against both.

    transformers, published weights ─▶ texts, judged ─┐
    transformers, weights of the GGUF ─▶ judged ──────┴─▶ parity: tokens, perplexity
                                      ─▶ answers ─▶ an engine must write the same

Every token of a text is compared with the reference's own past before it, so that one near-tie does
not end the comparison.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from maas.core.generation import TokenLogprob, TokenPrompt
from maas.core.ports import Generative
from maas.core.records import Parity
from maas.publish.hf_folder import HfFolder
from maas.publish.hf_lower import read_back
from maas.publish.hf_reference import (
    Judged,
    Reference,
    Spoken,
    beginnings,
    effort_for,
    long_beginning,
)
from maas.publish.hf_tensors import Place
from maas.publish.language_trial import NEAR, run
from maas.runtimes.language.tokens import Vocabulary

TIE = {"float32": 0.05, "bfloat16": 0.3}
"""Logits of two tokens this close are a near-tie, by what the reference computes in."""
WORSE = {"f16": 0.01, "q8_0": 0.02, "q4_0": 0.25}
"""How much larger the perplexity may be: what rounding to so many bits costs, and no error."""
APART = 0.1
"""How far the logarithms of an engine's probabilities may be from the reference's, on average."""
MOST_ROUNDS = 12
"""How often an engine is asked to go on behind tokens that it would have written otherwise."""
UNTOLD = -9000.0
"""A logarithm of a probability this low stands for a token that the engine does not tell of."""
LONGEST_S = 120.0
"""How long an engine may write for the comparison."""
WRONG = 0.02
"""Part of the tokens that may differ by more than rounding before an engine is wrong."""


class Proof(Struct, frozen=True):
    """What the reference found.

    Args:
        parity: the lowered weights against the published ones.
        answers: what the lowered weights answer there, which engines must write too; to short
            beginnings, and to a long one where the context has room.
    """

    parity: Parity
    answers: tuple[Spoken, ...]


class Checked(Struct, frozen=True):
    """How an engine compares with the reference.

    Args:
        wanted: tokens that the reference wrote.
        compared: of those, as many as the engine wrote alike or otherwise.
        ties: of those, how many differ where rounding decides.
        differing: how many differ by more.
        apart: mean difference of the logarithms of probabilities of the same tokens.
    """

    wanted: int
    compared: int
    ties: int
    differing: int
    apart: float

    def complaint(self) -> str:
        """Why the engine is wrong, one clause; empty where it is right."""
        if 2 * self.compared < self.wanted:
            return f"it wrote {self.compared} tokens of {self.wanted} that it was asked for"
        if self.differing > WRONG * self.compared:
            return (
                f"it writes other tokens than transformers with the same weights in "
                f"{self.differing} of {self.compared} places, by more than rounding does"
            )
        if not self.apart <= APART:
            return (
                f"it finds tokens {self.apart:.2g} more or less likely than transformers with the "
                "same weights (a mean of logarithms)"
            )
        return ""


def prove_weights(
    source: HfFolder,
    gguf: Path,
    places: tuple[Place, ...],
    vocabulary: Vocabulary,
    quantize: str,
    context: int,
    told: Callable[[str, float], None],
) -> Proof:
    """Compares the weights of a GGUF with the published ones, in transformers.

    Args:
        source: the published folder.
        gguf: the lowered form.
        places: its tensors.
        vocabulary: the model's tokens.
        quantize: how the weights are kept.
        context: tokens that it will have.
        told: hears what is done, and which part of it, 0 to 1.

    Raises:
        MaasError: FAILED_PRECONDITION without transformers; INVALID_ARGUMENT where it cannot load
            the model.
    """
    effort = effort_for(source.parameters)
    tokens = max(1, min(effort.tokens, context // 4))
    told("loading it with transformers, the reference", 0.0)
    reference = Reference(source, len(os.sched_getaffinity(0)))
    try:
        begun = beginnings(vocabulary, effort.beginnings)
        begun = [start[: max(1, context // 4)] for start in begun]
        told(f"having transformers continue {len(begun)} texts", 0.1)
        spoken = reference.speak([*begun, *begun], tokens, greedy=len(begun))
        told("having transformers read them with the lowered weights", 0.4)
        reference.take(read_back(gguf, places))
        after = reference.judge(spoken)
        told("having transformers answer with the lowered weights", 0.6)
        answers = [reference.speak(begun, tokens, greedy=len(begun))]
        long = min(effort.long, context - 2 * tokens)
        if long > 2 * len(begun[0]):
            told("having transformers answer a long text", 0.8)
            answers.append(reference.speak([long_beginning(vocabulary, long)], tokens, greedy=1))
        parity = parity_of(spoken.judged, after, len(begun), quantize, reference.precision)
    finally:
        reference.close()
    return Proof(parity, tuple(answers))


def parity_of(
    before: Judged, after: Judged, greedy: int, quantize: str, precision: str = "float32"
) -> Parity:
    """Compares two judgements of the same texts.

    Args:
        before: with the published weights.
        after: with the lowered ones.
        greedy: how many of the texts, the first, are the likeliest continuations; perplexity is of
            the others, which are as likely as the model finds them.
        quantize: how the lowered weights are kept.
        precision: what the reference computed in.
    """
    same = before.likeliest == after.likeliest
    ties = ~same & (np.minimum(before.margin, after.margin) <= TIE[precision])
    differing = int((~same & ~ties).sum())
    was, now = (float(np.exp(-each.logprob[greedy:].mean())) for each in (before, after))
    change = now / was - 1
    agrees = change <= WORSE[quantize] and (quantize != "f16" or not differing)
    held = int(same.sum())
    return Parity(
        samples=int(same.size),
        source="model",
        max_abs=float(np.abs(before.logprob - after.logprob).max()),
        max_rel=abs(change),
        distinct_answers=len(np.unique(before.likeliest)),
        agrees=agrees and math.isfinite(change),
        note=(
            f"weights as {quantize} against the published ones, in transformers ({precision}): the "
            f"likeliest token is the same in {held} of {same.size} places ({int(ties.sum())} "
            f"near-ties), perplexity {was:.4g} before and {now:.4g} after ({change:+.2%}); max abs "
            "is of logarithms of probabilities, max rel of the perplexity"
        ),
    )


def check_engine(model: Generative, proof: Proof, vocabulary: Vocabulary) -> Checked:
    """Has an engine write what the reference wrote with the same weights.

    Args:
        model: as loaded; it takes as many answers at once as there are.
        proof: what the reference wrote.
        vocabulary: the model's tokens.

    Raises:
        MaasError: the engine's own.
    """
    wanted = compared = ties = differing = 0
    end = time.monotonic() + LONGEST_S
    apart: list[float] = []
    for answers in proof.answers:
        whole = answers.texts.shape[1]
        at = [answers.begun] * len(answers.texts)
        for _ in range(MOST_ROUNDS):
            open_ = [row for row, place in enumerate(at) if place < whole]
            left = end - time.monotonic()
            if not open_ or left <= 0:
                break
            prompts = [TokenPrompt(tuple(answers.texts[row, : at[row]].tolist())) for row in open_]
            most = whole - min(at[row] for row in open_)
            _, written = run(model, prompts, most, max(left, 1.0))
            for row, answer in zip(open_, written, strict=True):
                texts = [vocabulary.bytes_of(token) for token in answers.texts[row, at[row] :]]
                followed = follow(texts, answer.tokens)
                first = at[row] - answers.begun
                for place, logprob in followed.logprobs:
                    apart.append(abs(logprob - float(answers.judged.logprob[row, first + place])))
                wanted += len(texts)
                compared += followed.held + followed.parted
                if followed.parted:
                    wanted -= len(texts) - followed.held - 1
                    near = answers.judged.margin[row, first + followed.held] <= NEAR
                    ties += bool(near)
                    differing += not near
                    at[row] += followed.held + 1
                else:
                    at[row] = whole
    if time.monotonic() > end:
        wanted = compared  # it had no time for more
    return Checked(wanted, compared, ties, differing, float(np.mean(apart)) if apart else math.inf)


class Followed(Struct, frozen=True):
    """How far an engine followed a text.

    Args:
        held: tokens that it wrote alike.
        parted: whether it wrote another one then; else it ended, or the text did.
        logprobs: what it said of tokens that it wrote alike, by their place.
    """

    held: int
    parted: bool
    logprobs: tuple[tuple[int, float], ...]


def follow(texts: Sequence[bytes], written: Sequence[TokenLogprob]) -> Followed:
    """Compares what an engine wrote with a text, token by token.

    Args:
        texts: of the tokens that it should have written.
        written: tokens of it. One may stand for several that end inside a character, as llama.cpp
            tells of them; of bytes that make up none it tells nothing, and what follows these is
            not compared.
    """
    at = 0
    logprobs: list[tuple[int, float]] = []
    for token in written:
        if token.logprob is not None and token.logprob <= UNTOLD:
            break
        count = _same(texts[at:], token.token)
        if at >= len(texts) or not count:
            return Followed(at, at < len(texts), tuple(logprobs))
        if count == 1 and token.logprob is not None:
            logprobs.append((at, token.logprob))
        at += count
    return Followed(at, False, tuple(logprobs))


def _same(texts: Sequence[bytes], written: bytes) -> int:
    """How many tokens make up what was written for one; 0 where they do not."""
    whole = b""
    for count, text in enumerate(texts, 1):
        whole += text
        if whole == written:
            return count
        if not written.startswith(whole) or _is_text(whole):
            return 0
    return 0


def _is_text(data: bytes) -> bool:
    """Whether bytes end with a character's end."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True
