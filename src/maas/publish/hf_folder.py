"""Reads what a Hugging Face folder says about its model: JSON of bounded size, and no code.

config.json · generation_config.json · tokenizer_config.json · chat_template.jinja · tokenizer.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.publish.detect_folder import inside
from maas.publish.hf_scan import StoredTensor, scan_weights

CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIALS = "special_tokens_map.json"
TEMPLATE = "chat_template.jinja"
TEMPLATE_JSON = "chat_template.json"
TOKENIZER_FILE = "tokenizer.json"
ATTENTION = ("_attn_implementation", "attn_implementation")
"""What names in config.json how attention is computed: `OWNER/NAME` is a download of code."""
MOST_JSON = 4 << 20
"""Bytes of each of them but the tokenizer."""
MOST_TOKENIZER = 96 << 20
LONGEST_TEMPLATE = 256 << 10
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""How the architectures end that continue texts."""
OTHER_TOKENIZERS = ("tokenizer.model", "vocab.json", "spiece.model", "vocab.txt")


class HfFolder(Struct, frozen=True):
    """What was read, nothing of it checked against the tensors yet.

    Args:
        folder: where it lies.
        config: config.json.
        generation: generation_config.json; empty where there is none.
        tokenizer_config: tokenizer_config.json, with the special tokens of
            special_tokens_map.json where it has none.
        template: the chat template, or empty.
        tokenizer: tokenizer.json.
        tensors: by name.
    """

    folder: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    template: str
    tokenizer: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @property
    def model_type(self) -> str:
        """As config.json names the architecture: `qwen2`."""
        return str(self.config["model_type"])

    @property
    def weight_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def parameters(self) -> int:
        """How many numbers all tensors are."""
        return sum(tensor.count for tensor in self.tensors.values())


def read_folder(folder: Path, *, weights: bool = True) -> HfFolder:
    """Reads a folder; refuses what is no causal language model, and what would need code.

    Args:
        folder: where it lies.
        weights: whether its weights are safetensors; else they are another reader's.

    Raises:
        MaasError: INVALID_ARGUMENT, one sentence with a cure where there is one.
    """
    config = _read_json(folder, CONFIG)
    check_kind(config if weights else {**config, "quantization_config": None})
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if (folder / name).exists():
            raise invalid(
                f"the folder holds an adapter ({name}); merge it into its model "
                "(model.merge_and_unload().save_pretrained(folder)) and publish that"
            )
    if not (folder / TOKENIZER_FILE).exists():
        raise _no_tokenizer(folder)
    said = {**_read_json(folder, SPECIALS, {}), **_read_json(folder, TOKENIZER_CONFIG, {})}
    return HfFolder(
        folder=folder,
        config=config,
        generation=_read_json(folder, GENERATION, {}),
        tokenizer_config=said,
        template=_template(folder, said),
        tokenizer=_read_json(folder, TOKENIZER_FILE, most=MOST_TOKENIZER),
        tensors=scan_weights(folder) if weights else {},
    )


def check_kind(config: Mapping[str, Any]) -> None:
    """Refuses, by its config.json, what is not served.

    Raises:
        MaasError: INVALID_ARGUMENT, naming what it is.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or not 1 <= len(kind) <= 64 or not kind.isprintable():
        raise invalid(f"{CONFIG} names no model_type; save the model with save_pretrained")
    if config.get("auto_map"):
        raise invalid(
            f"{CONFIG} asks for Python code that comes with the model (auto_map), and none is run "
            "here; publish a model of an architecture that transformers has itself, or its GGUF"
        )
    if any("/" in str(config.get(name, "")) for name in ATTENTION):
        raise invalid(
            f"{CONFIG} asks for kernels of somebody else's ({ATTENTION[0]}), and none are run "
            "here; leave that out of it"
        )
    quantized = config.get("quantization_config")
    if quantized is not None:
        how = quantized.get("quant_method") if isinstance(quantized, dict) else None
        raise invalid(
            f"the model is quantised already ({_shown(how or 'in a way unknown')}), which is not "
            "read here; publish the model that it was made from with --quantize q4_0, or its GGUF"
        )
    names = config.get("architectures")
    names = names if isinstance(names, list) and names else []
    if config.get("is_encoder_decoder") or any(
        not isinstance(name, str) or not name.endswith(CAUSAL) for name in names
    ):
        shown = ", ".join(_shown(name) for name in names[:4]) or kind
        raise invalid(
            f"the model is {shown}, which does not continue texts; of Hugging Face folders causal "
            "language models (…ForCausalLM) are served today, and embeddings come later"
        )


def written_with(folder: HfFolder) -> dict[str, str]:
    """Versions that the folder says it was made with."""
    said = folder.config.get("transformers_version")
    return {"transformers": said[:40]} if isinstance(said, str) and said.isprintable() else {}


def _no_tokenizer(folder: Path) -> MaasError:
    there = [name for name in OTHER_TOKENIZERS if (folder / name).exists()]
    cure = (
        "write one with AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        if there
        else "publish the folder with its tokenizer"
    )
    has = f", only {', '.join(there)}" if there else ""
    return invalid(f"the folder has no {TOKENIZER_FILE}{has}; {cure}")


def _template(folder: Path, tokenizer_config: Mapping[str, Any]) -> str:
    """The chat template, from wherever transformers would take it.

    Raises:
        MaasError: INVALID_ARGUMENT for one above 256 KiB.
    """
    template: object = ""
    if (folder / TEMPLATE).exists():
        template = _read(folder, TEMPLATE, LONGEST_TEMPLATE).decode("utf-8", "replace")
    else:
        beside = _read_json(folder, TEMPLATE_JSON, {}).get("chat_template")
        template = beside or tokenizer_config.get("chat_template") or ""
    if isinstance(template, list):  # several by name; that for tools is the default's, or a default
        named = {each.get("name"): each.get("template") for each in template if type(each) is dict}
        template = named.get("default") or named.get("tool_use") or ""
    if not isinstance(template, str):
        return ""
    if len(template.encode(errors="replace")) > LONGEST_TEMPLATE:
        raise invalid(f"the chat template is longer than {LONGEST_TEMPLATE >> 10} KiB; shorten it")
    return template


def _read_json(
    folder: Path, name: str, default: dict[str, Any] | None = None, most: int = MOST_JSON
) -> dict[str, Any]:
    """A JSON object of the folder; the default where the file is not there.

    Raises:
        MaasError: INVALID_ARGUMENT for one too large, or no JSON object.
    """
    if default is not None and not (folder / name).exists():
        return default
    data = _read(folder, name, most)
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = str(error) or "nested too deeply"
        raise invalid(f"{name} is no JSON object: {said[:160]}; save the model again") from None


def _read(folder: Path, name: str, most: int) -> bytes:
    file = inside(folder, name, "the folder")
    if file.is_dir() or file.stat().st_size > most:
        raise invalid(f"{name} is no file or larger than {most >> 10} KiB, which no model needs")
    return file.read_bytes()


def _shown(name: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(name))[:60]
