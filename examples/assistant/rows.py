"""Conversations as rows of tokens, to train on.

Conversations ─▶ Text (tokens) ─▶ Row: several conversations, one after the other ─▶ Batch
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from questions import Conversations, Topic
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

BEGIN, END = "<|im_start|>", "<|im_end|>"
VOCABULARY = 2560
ROW = 256
"""Tokens of a row."""
ROWS = 12
QUESTION_WEIGHT = 0.01
RAMP = 600
"""Steps over which the two shares below go from the first figure to the second."""
SEVERAL = (0.02, 0.35)
"""Of the conversations, how many have several questions: which words of one matter is learned
faster where there are no others around."""
CUT_SHORT = (0.9, 0.4)
"""Of the lone answers, how many are cut short: how one begins decides which it is, and questions
are harder to learn than answers."""
CUT_TO = 4
"""Tokens of it that are kept."""


class Text:
    """Byte-level BPE, trained on the conversations themselves."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.begin, self.end = (tokenizer.token_to_id(text) for text in (BEGIN, END))
        self.answer_head = [self.begin, *self._encode("assistant\n")]

    @classmethod
    def train(cls, topics: list[Topic], vocabulary: int) -> Text:
        """Learns the tokens."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[BEGIN, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        drawn = Conversations(topics, 1)
        turns = (turn for _ in range(8000) for turn in drawn.draw(0.0)[1])
        texts = (text for question, topic in turns for text in (question, topic.answer))
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    def message(self, role: str, text: str, *, dropout: float = 0.0) -> list[int]:
        """The tokens of one message, as the chat template has it.

        Args:
            role: who says it.
            text: what is said.
            dropout: of the merges, so that words are cut up otherwise now and then.
        """
        self.tokenizer.model.dropout = dropout or None
        body = self._encode(text)
        self.tokenizer.model.dropout = None
        return [self.begin, *self._encode(f"{role}\n"), *body, self.end, *self._encode("\n")]

    def answer(self, text: str) -> list[int]:
        """What follows upon `answer_head`: the text, the end and a new line."""
        return [*self._encode(text), self.end, *self._encode("\n")]

    @property
    def tokens(self) -> list[str]:
        """All tokens by number, in the letters of byte-level BPE."""
        vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    @property
    def merges(self) -> list[str]:
        """The merges in their order, each two tokens with a space between."""
        found = json.loads(self.tokenizer.to_str())["model"]["merges"]
        return [each if isinstance(each, str) else " ".join(each) for each in found]

    def _encode(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text).ids
        return found


@dataclass(frozen=True)
class Batch:
    """Rows of conversations: all [rows, ROW], the mask [rows, ROW, ROW].

    `topics` has the number of the topic where an answer begins, elsewhere -1.
    """

    tokens: Tensor
    targets: Tensor
    weights: Tensor
    positions: Tensor
    topics: Tensor
    mask: Tensor


def batches(text: Text, topics: list[Topic], steps: int) -> Iterator[Batch]:
    """Rows of conversations; what does not fit into a row is cut off."""
    drawn = Conversations(topics, 2)
    numbers = {(topic.name, topic.chinese): number for number, topic in enumerate(topics)}
    chance = random.Random(3)  # noqa: S311  # nothing secret is drawn
    causal = torch.ones(ROW, ROW, dtype=torch.bool).tril()
    for step in range(steps):
        several, cut_short = (_ramped(share, step) for share in (SEVERAL, CUT_SHORT))
        rows = []
        for _ in range(ROWS):
            row = Row()
            while len(row.tokens) <= ROW:
                system, turns = drawn.draw(several)
                short = len(turns) == 1 and chance.random() < cut_short
                row.add(text, numbers, system, turns, CUT_TO if short else None)
            rows.append(row)
        tokens = torch.tensor([row.tokens[: ROW + 1] for row in rows])
        weights = torch.tensor([row.weights[: ROW + 1] for row in rows])
        owners = torch.tensor([row.owners[: ROW + 1] for row in rows])
        owner = owners[:, :-1]
        yield Batch(
            tokens[:, :-1],
            tokens[:, 1:],
            # The first token of a conversation is not to be guessed from the one before it.
            weights[:, 1:] * (owners[:, 1:] == owner),
            torch.tensor([row.positions[:ROW] for row in rows]),
            torch.tensor([row.topics[:ROW] for row in rows]),
            (owner[:, :, None] == owner[:, None, :]) & causal,
        )


class Row:
    """Conversations, one after the other, token by token.

    Attributes:
        tokens: of all of them.
        weights: how much each counts when it is guessed.
        positions: in its conversation.
        owners: where that begins.
        topics: what an answer that begins after this token is about; else -1.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.weights: list[float] = []
        self.positions: list[int] = []
        self.owners: list[int] = []
        self.topics: list[int] = []

    def add(
        self,
        text: Text,
        numbers: dict[tuple[str, bool], int],
        system: str,
        turns: list[tuple[str, Topic]],
        short: int | None,
    ) -> None:
        """Adds a conversation; `short`: only so many tokens of its answers, and no end to them."""
        begin = len(self.tokens)
        if system:
            self._say(text.message("system", system), 0.0)
        for question, topic in turns:
            self._say(text.message("user", question, dropout=0.04), QUESTION_WEIGHT)
            self._say(text.answer_head, 0.0)
            self.topics[-1] = numbers[topic.name, topic.chinese]
            *answer, line = text.answer(topic.answer)
            if short is None:
                self._say(answer, 1.0)
                self._say([line], 0.0)
            else:
                self._say(answer[:short], 1.0)
        self.positions += range(len(self.tokens) - begin)
        self.owners += [begin] * (len(self.tokens) - begin)

    def _say(self, tokens: list[int], weight: float) -> None:
        self.tokens += tokens
        self.weights += [weight] * len(tokens)
        self.topics += [-1] * len(tokens)


def _ramped(share: tuple[float, float], step: int) -> float:
    first, last = share
    return first + (last - first) * min(1.0, step / RAMP)
