"""What a Hugging Face folder says: read within bounds; what is no language model is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.language import CHAT_TEMPLATE, tiny_folder

from maas.core.errors import ErrorKind, MaasError
from maas.publish.detect import detect
from maas.publish.hf_card import card_of, specials_of
from maas.publish.hf_folder import read_folder

Change = Callable[..., Path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    for file in whole.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    return made


def change(file: Path, **fields: Any) -> None:
    document = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**document, **fields}))


def refusal(folder: Path) -> str:
    with pytest.raises(MaasError) as caught:
        read_folder(folder)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_folder_that_is_whole(folder: Path) -> None:
    assert detect(folder, "m").format == "huggingface"
    found = read_folder(folder)
    assert found.model_type == "qwen2"
    assert found.template == CHAT_TEMPLATE
    assert found.weight_bytes == 4 * found.parameters
    rows = found.config["vocab_size"]
    card = card_of(found, specials_of(found, rows), rows, "Q8_0", 512)
    assert (card.architecture, card.vocabulary, card.context_tokens) == ("qwen2", rows, 512)
    assert card.tool_format == "hermes"
    assert (card.bos_text, card.eos_text) == ("<|endoftext|>", "<|im_end|>")
    assert card.add_bos is False
    assert len(card.control_tokens) == 3
    assert set(card.end_tokens) < set(card.control_tokens)


def test_weights_that_can_carry_code(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(MaasError, match=r"'pytorch_model.bin' alone.*safe_serialization=True"):
        detect(folder, "m")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(MaasError, match="without its weights"):
        detect(folder, "m")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_type": None}, "names no model_type"),
        ({"model_type": "a\nb"}, "names no model_type"),
        ({"auto_map": {"AutoModel": "modeling.Evil"}}, "asks for Python code"),
        ({"_attn_implementation": "evil/attention"}, "asks for kernels of somebody else's"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised already (gptq)"),
        ({"quantization_config": {}}, "quantised already"),
        ({"architectures": ["BertForMaskedLM"]}, "BertForMaskedLM, which does not continue texts"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "embeddings come later"),
        ({"architectures": [7]}, "does not continue texts"),
        ({"is_encoder_decoder": True}, "does not continue texts"),
    ],
)
def test_what_is_no_language_model_here(folder: Path, fields: dict[str, Any], words: str) -> None:
    change(folder / "config.json", **fields)
    assert words in refusal(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": ' + "[" * 100_000, '"\\ud800"', "{}" + " " * (5 << 20)]
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_files_that_are_no_json(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert name in refusal(folder)


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "publish the folder with its tokenizer" in refusal(folder)
    (folder / "tokenizer.model").write_bytes(b"spm")
    assert "only tokenizer.model; write one with AutoTokenizer" in refusal(folder)


def test_an_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    assert "merge_and_unload" in refusal(folder)


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").symlink_to("/etc/hostname")
    assert "which is a link" in refusal(folder)


def test_a_template_of_its_own_file(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert read_folder(folder).template == "{{ messages }}"
    (folder / "chat_template.jinja").write_text("x" * (257 << 10))
    assert "chat_template.jinja" in refusal(folder)


@pytest.mark.parametrize(
    ("said", "template"),
    [
        ([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}], "d"),
        ([{"name": "tool_use", "template": "t"}], "t"),
        ([{"name": "rag", "template": "r"}, 7], ""),
        (7, ""),
        (None, ""),
    ],
)
def test_templates_by_name(folder: Path, said: Any, template: str) -> None:
    change(folder / "tokenizer_config.json", chat_template=said)
    assert read_folder(folder).template == template


def test_a_long_template(folder: Path) -> None:
    change(folder / "tokenizer_config.json", chat_template="x" * (257 << 10))
    assert "longer than 256 KiB" in refusal(folder)


def test_end_tokens_from_everywhere(folder: Path) -> None:
    change(folder / "tokenizer_config.json", eos_token={"content": "<|im_end|>"}, bos_token=None)
    change(folder / "generation_config.json", eos_token_id=[3, 5])
    change(folder / "config.json", bos_token_id=None)
    found = read_folder(folder)
    rows = found.config["vocab_size"]
    specials = specials_of(found, rows)
    assert specials.ends[0] == rows - 3
    assert set(specials.ends) == {3, 5, rows - 3, rows - 5}
    assert (specials.bos, specials.add_bos, specials.bos_text) == (None, False, "")


def test_nothing_ends_an_answer(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    change(folder / "tokenizer_config.json", eos_token=None)
    change(folder / "generation_config.json", eos_token_id=None)
    change(folder / "config.json", eos_token_id=None)
    found = read_folder(folder)
    with pytest.raises(MaasError, match="names no token that ends an answer"):
        specials_of(found, found.config["vocab_size"])


def test_a_tokenizer_that_is_none(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    found = read_folder(folder)
    with pytest.raises(MaasError, match=r"tokenizer\.json is no tokenizer"):
        specials_of(found, 600)
