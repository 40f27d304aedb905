"""Figures, tensors and vocabularies on their way to GGUF, and what is kept back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tests.language import tiny_folder

from maas.core.errors import ErrorKind, MaasError
from maas.publish.gguf_model import check_model
from maas.publish.gguf_scan import scan_gguf
from maas.publish.hf_card import specials_of
from maas.publish.hf_config import KeptError, Rope, rope_factors, shape_of
from maas.publish.hf_folder import HfFolder, read_folder
from maas.publish.hf_lower import read_back, write_gguf
from maas.publish.hf_scan import scan_safetensors
from maas.publish.hf_tensors import Place, check_tensors, places_of, read_rows, unturn
from maas.publish.hf_vocabulary import vocabulary_of

CONFIG = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "vocab_size": 500,
    "max_position_embeddings": 1024,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_figures() -> None:
    shape = shape_of(CONFIG)
    assert (shape.architecture, shape.head, shape.kv_heads, shape.context) == ("qwen2", 16, 2, 1024)
    assert shape.rope == Rope(10_000.0)
    assert not shape.tied
    assert shape_of({**CONFIG, "model_type": "qwen3"}).head == 128
    assert shape_of({**CONFIG, "rope_theta": 1e6}).rope.theta == 1e6


@pytest.mark.parametrize(
    ("said", "rope"),
    [
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, Rope(1e6)),
        ({"rope_scaling": None, "rope_theta": 5e5}, Rope(5e5)),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 5e5},
            Rope(5e5, "linear", 2.0),
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 256}},
            Rope(1e4, "yarn", 4.0, 256),
        ),
        ({"rope_parameters": LLAMA3}, Rope(5e5, "llama3", 8.0, 8192, 1.0, 4.0)),
    ],
)
def test_positions(said: dict[str, Any], rope: Rope) -> None:
    assert shape_of({**CONFIG, **said}).rope == rope


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"model_type": "gpt2"}, "gpt2 has no GGUF form here"),
        ({"hidden_act": "gelu"}, "computes with gelu"),
        ({"model_type": "llama", "attention_bias": True}, "biases"),
        ({"mlp_bias": True}, "biases"),
        ({"use_sliding_window": True}, "sliding window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding window"),
        ({"partial_rotary_factor": 0.5}, "a part of each head"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "scaled by dynamic"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "scaled by longrope"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2, "beta_fast": 8}}, "beta_fast"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2, "mscale": 0.7}}, "mscale"),
    ],
)
def test_what_gguf_cannot_say(said: dict[str, Any], words: str) -> None:
    with pytest.raises(KeptError, match=words):
        shape_of({**CONFIG, **said})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"hidden_size": None}, "hidden_size is 'None'"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": 1 << 40}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "impossible"),
        ({"head_dim": 5}, "impossible"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"rms_norm_eps": "tiny"}, "rms_norm_eps"),
        ({"rope_theta": -1}, "rope_theta"),
        ({"rope_theta": float("nan")}, "rope_theta"),
        ({"rope_parameters": [1]}, "no object"),
        ({"rope_scaling": {"type": "linear"}}, "scales positions by 0"),
        ({"rope_scaling": {"type": "linear", "factor": 1e9}}, "scales positions"),
        ({"rope_parameters": {**LLAMA3, "low_freq_factor": 9.0}}, "not below"),
    ],
)
def test_figures_that_no_model_has(said: dict[str, Any], words: str) -> None:
    with pytest.raises(MaasError, match=words) as caught:
        shape_of({**CONFIG, **said})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rope_type", "type", "factor", "rope_theta", "id", "content", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
KEYS = [*CONFIG, "rope_parameters", "rope_scaling", "rope_theta", "head_dim", "layer_types"]


@settings(max_examples=200, deadline=None)
@given(said=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3))
def test_any_configuration_is_read_or_refused(said: dict[str, Any]) -> None:
    with contextlib.suppress(MaasError, KeptError):
        shape = shape_of({**CONFIG, **said})
        assert len(rope_factors(shape)) == shape.head // 2


@settings(max_examples=200, deadline=None)
@given(
    model=st.dictionaries(
        st.sampled_from(["type", "vocab", "merges", "byte_fallback"]),
        JSON | st.sampled_from(["BPE", "Unigram"]) | st.dictionaries(st.text(), st.integers(0, 4)),
    ),
    added=JSON,
)
def test_any_vocabulary_is_read_or_refused(model: dict[str, Any], added: Any) -> None:
    with contextlib.suppress(MaasError, KeptError):
        words = vocabulary_of({"model": model, "added_tokens": added}, 3)
        assert len(words.texts) == len(words.types) == 3


def test_the_divisors_of_llama3_are_those_of_transformers() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = {**CONFIG, "model_type": "llama", "head_dim": 64, "rope_parameters": LLAMA3}
    settings = LlamaConfig(**{k: v for k, v in config.items() if k != "model_type"})
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](settings, "cpu")
    plain = 5e5 ** (-np.arange(0, 64, 2) / 64)
    ours = plain / np.asarray(rope_factors(shape_of(config)))
    np.testing.assert_allclose(ours, frequencies.numpy(), rtol=1e-5)


Folders = Callable[..., HfFolder]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Makes a folder once."""
    made: dict[str, Path] = {}

    def get(architecture: str, **config: Any) -> HfFolder:
        key = f"{architecture} {sorted(config.items())}"
        if key not in made:
            made[key] = tiny_folder(tmp_path_factory.mktemp("hf"), architecture, **config)
        return read_folder(made[key])

    return get


def lower(source: HfFolder, target: Path, quantize: str) -> tuple[Place, ...]:
    shape = shape_of(source.config)
    places = tuple(places_of(shape))
    check_tensors(source.tensors, places, shape.tied)
    words = vocabulary_of(source.tokenizer, shape.vocabulary)
    specials = specials_of(source, shape.vocabulary)
    heard: list[float] = []
    write_gguf(target, shape, words, specials, source.tensors, places, quantize, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    return places


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(
    ("quantize", "nearest"), [("f16", 0.0005), ("q8_0", 0.005), ("q4_0", 0.15)]
)
def test_weights_come_back(
    folders: Folders, tmp_path: Path, architecture: str, quantize: str, nearest: float
) -> None:
    source = folders(architecture, tie_word_embeddings=architecture == "qwen3")
    places = lower(source, tmp_path / "m.gguf", quantize)
    stored = load_file(source.folder / "model.safetensors")
    for name, parts in read_back(tmp_path / "m.gguf", places):
        rows = np.concatenate(list(parts))
        assert rows.shape == stored[name].shape, name
        assert float(np.abs(rows - stored[name]).max()) <= nearest, name
    scanned = scan_gguf(tmp_path / "m.gguf")
    model = check_model(scanned, source.config["vocab_size"])
    assert model.quantization == quantize.upper()
    assert model.parameters == source.parameters
    kinds = {name: tensor.type for name, tensor in scanned.tensors.items()}
    assert kinds["output_norm.weight"] == kinds["blk.1.attn_norm.weight"] == "F32"
    assert kinds["token_embd.weight"] == ("F16" if quantize == "f16" else "Q8_0")
    assert kinds["blk.0.ffn_up.weight"] == quantize.upper()
    assert ("output.weight" in kinds) is (architecture != "qwen3")


def test_scaled_positions_are_written(folders: Folders, tmp_path: Path) -> None:
    lower(folders("llama", rope_parameters=LLAMA3), tmp_path / "m.gguf", "f16")
    assert scan_gguf(tmp_path / "m.gguf").tensors["rope_freqs.weight"].shape == (8,)
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
    yarn["original_max_position_embeddings"] = 512
    lower(folders("qwen2", rope_parameters=yarn), tmp_path / "y.gguf", "f16")
    metadata = scan_gguf(tmp_path / "y.gguf").metadata
    assert metadata["qwen2.rope.scaling.type"] == "yarn"
    assert metadata["qwen2.rope.scaling.factor"] == 4.0
    assert metadata["qwen2.rope.scaling.original_context_length"] == 512


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, "bfloat16"])
def test_rows_of_any_type(tmp_path: Path, dtype: Any) -> None:
    import ml_dtypes

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    values = np.arange(48, dtype=np.float32).reshape(8, 6).astype(kind)
    save_file({"w": values}, tmp_path / "w.safetensors")
    tensor = scan_safetensors(tmp_path / "w.safetensors")["w"]
    plain = np.concatenate(list(read_rows(tensor, Place("w", "w", (8, 6)))))
    assert plain.tolist() == values.astype(np.float32).tolist()
    turned = np.concatenate(list(read_rows(tensor, Place("w", "w", (8, 6), heads=2))))
    assert turned[:, 0].tolist() == [0.0, 12.0, 6.0, 18.0, 24.0, 36.0, 30.0, 42.0]
    assert unturn(turned, 2).tolist() == plain.tolist()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    save_file({"w": np.full((4, 4), value, np.float32)}, tmp_path / "w.safetensors")
    tensor = scan_safetensors(tmp_path / "w.safetensors")["w"]
    with pytest.raises(MaasError, match="infinite or none"):
        list(read_rows(tensor, Place("w", "w", (4, 4))))


def test_numbers_that_float16_has_no_room_for(folders: Folders, tmp_path: Path) -> None:
    source = folders("qwen2")
    arrays = dict(load_file(source.folder / "model.safetensors"))
    name = "model.layers.1.mlp.up_proj.weight"
    arrays[name] = arrays[name] * 1e6
    for file in source.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file(arrays, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KeptError, match="float16 has no room"):
        lower(read_folder(tmp_path), tmp_path / "m.gguf", "f16")
    lower(read_folder(tmp_path), tmp_path / "m.gguf", "q8_0")


def test_tensors_that_do_not_fit(folders: Folders) -> None:
    source = folders("qwen2")
    shape = shape_of(source.config)
    places = tuple(places_of(shape))
    less = {k: v for k, v in source.tensors.items() if k != "model.norm.weight"}
    with pytest.raises(MaasError, match=r"have no model\.norm\.weight"):
        check_tensors(less, places, shape.tied)
    wider = tuple(places_of(shape_of({**source.config, "intermediate_size": 256})))
    with pytest.raises(MaasError, match=r"has the shape \[128, 64\], and config\.json makes"):
        check_tensors(source.tensors, wider, shape.tied)
    norm = source.tensors["model.norm.weight"]
    with pytest.raises(KeptError, match=r"'model\.extra'.*no place for"):
        check_tensors({**source.tensors, "model.extra": norm}, places, shape.tied)
    old = {**source.tensors, "lm_head.weight": norm, "model.layers.0.rotary_emb.inv_freq": norm}
    check_tensors(old, places, tied=True)


BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}


def test_a_vocabulary_is_filled_up() -> None:
    added = [
        {"id": 4, "content": "<end>", "special": True},
        {"id": 3, "content": "<tool>", "special": False},
        {"id": 9, "content": "<never seen>", "special": True},
    ]
    words = vocabulary_of({"model": BPE, "added_tokens": added}, 6)
    assert words.texts == ["a", "b", "ab", "<tool>", "<end>", "[PAD5]"]
    assert words.types == [1, 1, 1, 4, 3, 5]
    assert (words.model, words.pre, words.merges, words.scores) == ("gpt2", "gpt-2", ["a b"], [])


def test_pieces() -> None:
    model = {"type": "Unigram", "vocab": [["<unk>", 0], ["<0x0A>", 0], ["▁a", -1.5]]}
    words = vocabulary_of({"model": model}, 3)
    assert (words.model, words.types, words.merges) == ("llama", [1, 6, 1], [])
    assert words.scores == [0.0, -1.0, -2.0]
    assert vocabulary_of({"model": {**BPE, "byte_fallback": True}}, 3).model == "llama"


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        ({}, "it has no model"),
        ({"model": {"type": "BPE"}}, "has no vocabulary"),
        ({"model": {**BPE, "vocab": {"a": -1}}}, "'-1' is no token's number"),
        ({"model": {**BPE, "vocab": {"a": True}}}, "'True' is no token's number"),
        ({"model": {**BPE, "vocab": {"a" * 5000: 0}}}, "more than 4096 characters"),
        ({"model": {**BPE, "vocab": {"a": 3}}}, "knows the token 3.*has 3 rows.*resize"),
        ({"model": {**BPE, "merges": None}}, "no merges"),
        ({"model": {**BPE, "merges": ["ab"]}}, "no pair of texts"),
        ({"model": {**BPE, "merges": [["a", 1]]}}, "no pair of texts"),
        ({"model": BPE, "added_tokens": 7}, "no list"),
        ({"model": BPE, "added_tokens": [{"id": 1}]}, "no text"),
        ({"model": {"type": "Unigram", "vocab": [7]}}, "no text with a score"),
    ],
)
def test_vocabularies_that_lie(tokenizer: dict[str, Any], words: str) -> None:
    with pytest.raises(MaasError, match=words):
        vocabulary_of(tokenizer, 3)


def test_a_vocabulary_without_a_form() -> None:
    with pytest.raises(KeptError, match="WordLevel"):
        vocabulary_of({"model": {"type": "WordLevel", "vocab": {}}}, 3)


@pytest.mark.parametrize(("architecture", "pre"), [("qwen2", "qwen2"), ("llama", "llama-bpe")])
def test_how_texts_are_cut(folders: Folders, architecture: str, pre: str) -> None:
    source = folders(architecture)
    assert vocabulary_of(source.tokenizer, 600).pre == pre
    digits = json.loads('{"type": "Digits", "individual_digits": true}')
    assert vocabulary_of({"model": BPE, "pre_tokenizer": digits}, 3).pre == "smollm"
