"""Trains the assistant from scratch on a CPU: `assistant.gguf`, its accuracy in `assistant.json`.

    python examples/assistant/train.py                    # writes it, and how good it is
    python examples/assistant/train.py --accuracy FILE    # only says how good FILE is

Training takes about 15 minutes on two cores. The seeds are fixed; the last digits still depend on
the processor and on the number of threads.

A row of training holds whole conversations, one after the other, which do not see each other. What
counts is what the assistant says, and whether the network knows what a question is about.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from measuring import Found, measure
from model import Llama, Shape, read_gguf, write_gguf
from questions import Topic, read_topics
from rows import VOCABULARY, Text, batches
from torch.nn import functional

HERE = Path(__file__).parent
TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STEPS = 2800
LAYER_RATE = 0.02
RATE = 4e-3
WARM_UP = 40
"""Steps in which the rates go up; then they go down to nothing, evenly."""
TOPIC_WEIGHT = 0.5
"""Of guessing the topic before the last layer, by a matrix that is thrown away: the first token of
an answer alone says little about which one it is, and teaches as slowly."""


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
    model = Llama(shape)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(topics)} answers, {count:,} parameters, {shape.vocabulary} tokens", flush=True)
    train(model, text, topics, arguments.steps)
    special = (text.begin, text.end)
    write_gguf(arguments.output, model, text.tokens, text.merges, special, TEMPLATE)
    print(f"wrote {arguments.output}, {arguments.output.stat().st_size / 1e6:.2f} MB")
    found = measure_file(arguments.output, topics)
    figures = {"accuracy": found.accuracy, "accuracy_warm": found.accuracy_warm}
    text_of = json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2)
    arguments.output.with_suffix(".json").write_text(f"{text_of}\n", encoding="utf-8")


def train(model: Llama, text: Text, topics: list[Topic], steps: int) -> None:
    """Muon for the matrices of the layers, AdamW for the rest; both slow down all the while."""
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
        share = min((step + 1) / WARM_UP, 1 - step / steps)
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
        if step % 200 == 0 or step == steps - 1:
            found = measure(model, text, topics)
            print(
                f"step {step:4}, {time.perf_counter() - began:5.0f} s, loss {loss.item():.3f}, "
                f"of the topic {about.item():.3f}, "
                f"right on held-out questions: {found}",
                flush=True,
            )


def measure_file(path: Path, topics: list[Topic]) -> Found:
    """Says how good a GGUF is, and prints what it answers wrongly."""
    model, tokenizer = read_gguf(path)
    found = measure(model, Text(tokenizer), topics)
    for question in found.wrong:
        print(f"wrong  {question}")
    print(f"right on held-out questions: {found}")
    return found


if __name__ == "__main__":
    main()
