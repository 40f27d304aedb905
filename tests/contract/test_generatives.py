"""The built-in engines of language models pass the suite that is shipped for anybody's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.language import tiny_artifact, tiny_card, tiny_folder, tiny_tokenizer

from maas.core.generation import GenerativeSpec
from maas.core.ports import Artifact, Device, GenerationBounds, Generative
from maas.core.signature import text_signature
from maas.runtimes.language.card import TOKENIZER, write_card
from maas.runtimes.plugins import runtime_for
from maas.testing.generative import check_generative

CONTEXT = 512
SIGNATURES = {"serving_default": text_signature()}


def gguf(folder: Path) -> tuple[str, str]:
    tiny_artifact(folder, context=CONTEXT)
    return "model.gguf", "gguf"


def huggingface(folder: Path) -> tuple[str, str]:
    tiny_folder(folder / "model", "gpt2", context=CONTEXT)
    tiny_tokenizer().save(str(folder / TOKENIZER))
    write_card(folder, tiny_card("gpt2", CONTEXT))
    return "model/config.json", "huggingface"


@pytest.mark.parametrize(
    ("engine", "make"),
    [("openvino-genai", gguf), ("llamacpp", gguf), ("transformers", huggingface)],
)
def test_the_contract(tmp_path: Path, engine: str, make: object) -> None:
    entry, format_ = make(tmp_path)  # type: ignore[operator]
    spec = GenerativeSpec(CONTEXT, tiny_card().vocabulary)
    artifact = Artifact(str(tmp_path), entry, format_, SIGNATURES, spec)
    bounds = GenerationBounds(kv_bytes=64 << 20, sequences=8)
    model = runtime_for(engine).load(artifact, Device(generation=bounds))
    assert isinstance(model, Generative)
    lacks = tuple(sorted(getattr(model, "lacks", ())))
    try:
        check_generative(model, "Hello world", msgspec.structs.replace(spec, lacks=lacks))
    finally:
        model.close()
