"""How good the assistant is: held-out questions that get the right answer to the letter."""

from __future__ import annotations

import math

import torch
from model import Llama
from questions import Topic
from rows import Text

WARM = 0.7
"""The temperature at which it is measured besides."""


class Found:
    """How many held-out questions were answered with exactly the right answer."""

    def __init__(self) -> None:
        self.right = {False: 0, True: 0}
        self.asked = {False: 0, True: 0}
        self.warm = 0.0
        self.wrong: list[str] = []

    @property
    def accuracy(self) -> float:
        """The share of right answers, 0 to 1."""
        return sum(self.right.values()) / sum(self.asked.values())

    @property
    def accuracy_warm(self) -> float:
        """The same at the temperature `WARM`, as is to be expected."""
        return self.warm / sum(self.asked.values())

    def __str__(self) -> str:
        parts = [
            f"{name} {self.right[chinese]}/{self.asked[chinese]}"
            for name, chinese in (("English", False), ("Chinese", True))
        ]
        return (
            f"{self.accuracy:.3f} ({', '.join(parts)}); "
            f"at temperature {WARM} {self.accuracy_warm:.3f}"
        )


@torch.no_grad()
def measure(model: Llama, text: Text, topics: list[Topic]) -> Found:
    """Asks every held-out question.

    The likeliest token everywhere gives the right answer exactly if, given the right tokens so far,
    the next right one is always the likeliest: one pass tells. At a temperature the probability of
    the right answer is the product of those of its tokens.
    """
    model.eval()
    found = Found()
    for topic in topics:
        for question in topic.held_out:
            asked = text.message("user", question) + text.answer_head
            answer = text.answer(topic.answer)[:-1]
            tokens = torch.tensor([asked + answer])
            size = tokens.shape[1] - 1
            mask = torch.ones(1, size, size, dtype=torch.bool).tril()
            left = model(tokens[:, :-1], torch.arange(size)[None], mask)[0][0, len(asked) - 1 :]
            logits, wanted = model.logits(left), torch.tensor(answer)
            right = bool((logits.argmax(-1) == wanted).all())
            found.asked[topic.chinese] += 1
            found.right[topic.chinese] += right
            chances = (logits / WARM).log_softmax(-1)
            found.warm += math.exp(chances.gather(1, wanted[:, None]).sum().item())
            if not right:
                found.wrong.append(f"{topic.name}: {question}")
    return found
