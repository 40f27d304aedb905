"""Trains the assistant from scratch on a CPU and writes `assistant.gguf`.

    python examples/assistant/train.py                    # writes it, and says how good it is
    python examples/assistant/train.py --accuracy FILE    # only says how good FILE is

Training takes about 20 minutes on two cores. The seeds are fixed; the last digits still depend on
the processor and on the number of threads.

A row of training holds whole conversations, one after the other, which do not see each other. Only
what the assistant says counts; what the user says counts a tenth, so that the words of questions
are learned as well.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional

from model import Llama, Shape, read_gguf, write_gguf
from questions import Conversations, Topic, read_topics

HERE = Path(__file__).parent
BEGIN, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 2560
ROW = 384
"""Tokens of a row."""
ROWS = 8
STEPS = 2000
LAYER_RATE = 0.02
RATE = 4e-3
WARM_UP = 60
DROPOUT = 0.1
QUESTION_WEIGHT = 0.01
LEAST_SEVERAL, MOST_SEVERAL = 0.04, 0.4
"""Of the conversations, how many have several questions: when training begins, and when it ends."""
CUT_SHORT = 0.8
"""Of the lone answers, how many are cut short: how an answer begins decides which it is."""
CUT_TO = 8
"""Tokens of it that are kept."""
TOPIC_WEIGHT = 0.5
"""Of guessing the topic before the last layer, by a matrix that is thrown away: the first token of
an answer alone says little about which one it is, and teaches as slowly."""


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

    def _encode(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text).ids
        return found


def main() -> None:
    """Trains and measures, or only measures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--accuracy", type=Path, metavar="FILE", help="only measure this GGUF")
    parser.add_argument("--output", type=Path, default=HERE / "assistant.gguf", metavar="FILE")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    topics = read_topics()
    if arguments.accuracy is not None:
        measure_file(arguments.accuracy, topics)
        return
    torch.manual_seed(0)
    text = Text.train(topics, VOCABULARY)
    shape = Shape(vocabulary=text.tokenizer.get_vocab_size())
    model = Llama(shape, DROPOUT)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(topics)} answers, {count:,} parameters, {shape.vocabulary} tokens", flush=True)
    train(model, text, topics, arguments.steps)
    tokens = sorted(text.tokenizer.get_vocab().items(), key=lambda item: item[1])
    merges = read_merges(text.tokenizer)
    special = (text.begin, text.end)
    write_gguf(arguments.output, model, [name for name, _ in tokens], merges, special, TEMPLATE)
    print(f"wrote {arguments.output}, {arguments.output.stat().st_size / 1e6:.2f} MB")
    measure_file(arguments.output, topics)


def train(model: Llama, text: Text, topics: list[Topic], steps: int) -> None:
    """Muon for the matrices of the layers, AdamW for the rest; a warm-up and a cosine."""
    layers = [each for each in model.blk.parameters() if each.dim() > 1]
    others = [each for each in model.parameters() if each.dim() == 1]
    guess = torch.nn.Linear(model.shape.width, len(topics))
    optimizers = (
        torch.optim.Muon(layers, lr=LAYER_RATE, weight_decay=0.02),
        torch.optim.AdamW(
            [
                {"params": [model.token_embd.weight], "weight_decay": 0.02},
                {"params": [*others, *guess.parameters()], "weight_decay": 0.0},
            ],
            lr=RATE,
            betas=(0.9, 0.98),
        ),
    )
    rates = [[group["lr"] for group in each.param_groups] for each in optimizers]
    began = time.perf_counter()
    for step, batch in enumerate(batches(text, topics, steps)):
        share = min(1, (step + 1) / WARM_UP) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
        for optimizer, most in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, most, strict=True):
                group["lr"] = rate * share
        model.train()
        wanted, begins = batch.weights > 0, batch.topics >= 0
        with torch.autocast("cpu", torch.bfloat16):
            left, before = model(batch.tokens, batch.positions, batch.mask)
            logits = model.logits(left[wanted])
            guesses = guess(functional.rms_norm(before[begins], before.shape[-1:]))
        losses = functional.cross_entropy(logits.float(), batch.targets[wanted], reduction="none")
        weights = batch.weights[wanted]
        loss = (losses * weights).sum() / weights.sum()
        about = functional.cross_entropy(guesses.float(), batch.topics[begins])
        (loss + TOPIC_WEIGHT * about).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            found = measure(model, text, topics)
            print(
                f"step {step:4}, {time.perf_counter() - began:5.0f} s, loss {loss.item():.3f}, "
                f"of the topic {about.item():.3f}, "
                f"right on held-out questions: {found}",
                flush=True,
            )


def batches(text: Text, topics: list[Topic], steps: int) -> Iterator[Batch]:
    """Rows of conversations; what does not fit into a row is cut off.

    At first nearly all have one question: which words of it matter is learned faster where there
    are no others around.
    """
    drawn = Conversations(topics, 2)
    numbers = {(topic.name, topic.chinese): number for number, topic in enumerate(topics)}
    chance = random.Random(3)
    causal = torch.ones(ROW, ROW, dtype=torch.bool).tril()
    for step in range(steps):
        several = LEAST_SEVERAL + (MOST_SEVERAL - LEAST_SEVERAL) * step / steps
        rows = []
        for _ in range(ROWS):
            row = Row()
            while len(row.tokens) <= ROW:
                system, turns = drawn.draw(several)
                short = len(turns) == 1 and chance.random() < CUT_SHORT
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


def read_merges(tokenizer: Tokenizer) -> list[str]:
    """The merges of a BPE, each two tokens with a space between."""
    import json

    found = json.loads(tokenizer.to_str())["model"]["merges"]
    return [each if isinstance(each, str) else " ".join(each) for each in found]


class Found:
    """How many held-out questions were answered with exactly the right answer."""

    def __init__(self) -> None:
        self.right = {False: 0, True: 0}
        self.asked = {False: 0, True: 0}
        self.warm = 0.0
        self.wrong: list[str] = []

    def __str__(self) -> str:
        parts = [
            f"{name} {self.right[chinese]}/{self.asked[chinese]}"
            for name, chinese in (("English", False), ("Chinese", True))
        ]
        asked = sum(self.asked.values())
        share = sum(self.right.values()) / asked
        return f"{share:.3f} ({', '.join(parts)}); at temperature 0.7 {self.warm / asked:.3f}"


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
            chances = (logits / 0.7).log_softmax(-1)
            found.warm += math.exp(chances.gather(1, wanted[:, None]).sum().item())
            if not right:
                found.wrong.append(f"{topic.name}: {question}")
    return found


def measure_file(path: Path, topics: list[Topic]) -> None:
    """Prints how good a GGUF is, and what it answers wrongly."""
    model, tokenizer = read_gguf(path)
    found = measure(model, Text(tokenizer), topics)
    for question in found.wrong:
        print(f"wrong  {question}")
    print(f"right on held-out questions: {found}")


if __name__ == "__main__":
    main()
