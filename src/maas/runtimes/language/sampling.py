"""How a token is chosen from logits: pure functions over one row, float32 [vocabulary].

logits ─▶ penalties, bias ─▶ what the grammar allows ─▶ temperature ─▶ top_k, top_p, min_p ─▶ one
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maas.core.generation import Sampling

NEVER = np.float32(-np.inf)


class History:
    """Which tokens a choice has seen and written, as far as its penalties ask.

    Args:
        sampling: of the choice.
        vocabulary: how many tokens there are.
        prompt: tokens that were there before; only `repetition_penalty` looks at them.
    """

    def __init__(self, sampling: Sampling, vocabulary: int, prompt: Sequence[int]):
        self.seen: np.ndarray | None = None
        self.counts: np.ndarray | None = None
        if sampling.repetition_penalty != 1:
            self.seen = np.zeros(vocabulary, bool)
            self.seen[list(prompt)] = True
        if sampling.presence_penalty or sampling.frequency_penalty:
            self.counts = np.zeros(vocabulary, np.int32)

    def write(self, token: int) -> None:
        """Counts a token that was chosen."""
        if self.seen is not None:
            self.seen[token] = True
        if self.counts is not None:
            self.counts[token] += 1


def adjusted(logits: np.ndarray, sampling: Sampling, history: History) -> np.ndarray:
    """Logits after penalties and bias; a new array where there are any.

    Args:
        logits: float32 [vocabulary].
        sampling: penalties and `logit_bias`.
        history: of the choice.

    Returns:
        float32 [vocabulary].
    """
    if history.seen is not None:
        sunk = np.where(
            logits > 0, logits / sampling.repetition_penalty, logits * sampling.repetition_penalty
        )
        logits = np.where(history.seen, sunk, logits)
    if history.counts is not None:
        presence = sampling.presence_penalty * (history.counts > 0)
        logits = logits - presence - sampling.frequency_penalty * history.counts
    if sampling.logit_bias:
        logits = logits.copy()
        for token, bias in sampling.logit_bias.items():
            if token < len(logits):
                logits[token] += bias
    return logits.astype(np.float32, copy=False)


def chosen(logits: np.ndarray, sampling: Sampling, random: np.random.Generator) -> int:
    """Chooses a token.

    Args:
        logits: float32 [vocabulary], adjusted; -infinity where a token must not come.
        sampling: temperature and what truncates.
        random: gives one number where the temperature is above zero.

    Returns:
        The likeliest token at temperature 0 (the first of equals), else one of the truncated
        distribution.
    """
    best = int(logits.argmax())
    if sampling.temperature <= 0:
        return best
    tokens, probabilities = candidates(logits, sampling)
    edges = np.cumsum(probabilities)
    place = int(np.searchsorted(edges, random.random() * edges[-1], side="right"))
    return int(tokens[min(place, len(tokens) - 1)])


def candidates(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that may come and how likely each is: int [n], float64 [n], not normalised.

    `top_k` first, then `top_p` of what it leaves, then `min_p`, as transformers has them.
    """
    tokens = np.flatnonzero(logits > NEVER)
    # Divided after the largest is taken off: a tiny temperature must not overflow.
    scaled = (logits[tokens].astype(np.float64) - float(logits.max())) / sampling.temperature
    if 0 < sampling.top_k < len(tokens):
        kept = np.argpartition(scaled, -sampling.top_k)[-sampling.top_k :]
        kept.sort()
        tokens, scaled = tokens[kept], scaled[kept]
    probabilities = np.exp(scaled)
    probabilities /= probabilities.sum()
    if sampling.top_p < 1:
        # All tokens below this share add up to less than what is cut off: none of them is needed.
        kept = np.flatnonzero(probabilities > (1 - sampling.top_p) / len(probabilities))
        kept = kept[np.argsort(-probabilities[kept], kind="stable")]
        needed = int(np.searchsorted(np.cumsum(probabilities[kept]), sampling.top_p)) + 1
        tokens, probabilities = tokens[kept[:needed]], probabilities[kept[:needed]]
    if sampling.min_p > 0:
        kept = np.flatnonzero(probabilities >= sampling.min_p * probabilities.max())
        tokens, probabilities = tokens[kept], probabilities[kept]
    return tokens, probabilities


def likelihoods(
    logits: np.ndarray, token: int, most: int
) -> tuple[float, tuple[tuple[int, float], ...]]:
    """How likely a token was, and which tokens were likeliest, in natural logarithms.

    Args:
        logits: float32 [vocabulary], as the model gave them.
        token: the one that was chosen.
        most: how many of the likeliest.
    """
    exact = logits.astype(np.float64)
    exact -= exact.max()
    exact -= np.log(np.exp(exact).sum())
    if most == 0:
        return float(exact[token]), ()
    most = min(most, len(exact))
    best = np.argpartition(exact, -most)[-most:]
    best = best[np.argsort(-exact[best], kind="stable")]
    return float(exact[token]), tuple((int(each), float(exact[each])) for each in best)
