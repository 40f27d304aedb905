"""A tiny language model that answers questions about this project, in English and in Chinese.

Run it against a server that is up: `python examples/assistant.py [--url URL]`; then

    maas chat assistant

It publishes `assistant/assistant.gguf`, which `assistant/train.py` trained from scratch on the
questions in `assistant/questions/`. Nothing is trained here.
"""

from __future__ import annotations

import json
from pathlib import Path

from maas import Client
from recipes import published, recipe, run

NAME = "assistant"
FILE = Path(__file__).parent / "assistant" / "assistant.gguf"
RECIPE = recipe(str(FILE))
QUESTIONS = ("How do I publish a model?", "怎么回滚？")


def main(client: Client) -> None:
    """Publishes if that has not been done, then asks two questions."""
    if RECIPE not in published(client, NAME):
        publish(client)
    for question in QUESTIONS:
        print(f"{question} {client.chat(NAME, question, temperature=0)}")


def publish(client: Client) -> None:
    """Publishes the file with what was measured when it was trained."""
    measured = json.loads(FILE.with_suffix(".json").read_text(encoding="utf-8"))
    version = client.publish(
        FILE,
        NAME,
        description="Answers short questions about this project, in English and in Chinese. A "
        "llama of two million parameters, trained from scratch on written questions.",
        accuracy=measured["accuracy"],
        metrics={"accuracy_at_temperature_0.7": measured["accuracy_warm"]},
        tags={"recipe": RECIPE, "data": "questions"},
    )
    print(
        f"published {version.name}:{version.version}, accuracy {version.accuracy:.3f} on held-out"
    )


if __name__ == "__main__":
    run(main, __doc__)
