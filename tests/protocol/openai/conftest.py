"""A server with two tiny language models of random weights: what they write means nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import zoo
from tests.language import tiny_gguf
from tests.server import Server, serving


@pytest.fixture(scope="session")
def writers(front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`assistant`, also served as gpt-4o-mini and meta/llama; `bare`, without a chat template.

    `bare` leaves out what its engine lacks. `counts` is no language model.
    """
    folder = tmp_path_factory.mktemp(f"{front}-writers")
    with serving(folder / "home", front) as running:
        running.publish(
            tiny_gguf(folder / "assistant.gguf"),
            "assistant",
            served_names=("gpt-4o-mini", "meta/llama"),
            alias=("prod",),
        )
        bare = tiny_gguf(folder / "bare.gguf", "llama", chat_template="")
        running.publish(bare, "bare", drop_params=True)
        running.publish(zoo.counts(folder / "counts.onnx"), "counts")
        yield running
