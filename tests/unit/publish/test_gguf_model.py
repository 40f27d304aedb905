"""Figures of a GGUF that its tensors contradict, and GGUFs that are no language models."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tests.language import tiny_gguf

from maas.core.errors import ErrorKind, MaasError
from maas.publish.gguf_model import check_kind, check_model
from maas.publish.gguf_openvino import openvino_trouble
from maas.publish.gguf_scan import Gguf, TensorInfo, scan_gguf

TOKENS = "tokenizer.ggml.tokens"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Gguf:
    return scan_gguf(tiny_gguf(tmp_path_factory.mktemp("m") / "tiny.gguf", quantization="Q4_0"))


def changed(gguf: Gguf, **metadata) -> Gguf:
    named = {key.replace("__", "."): value for key, value in metadata.items()}
    kept = {**gguf.metadata, **named}
    kept = {key: value for key, value in kept.items() if value is not None}
    return msgspec.structs.replace(gguf, metadata=kept)


def without(gguf: Gguf, *names: str) -> Gguf:
    tensors = {name: info for name, info in gguf.tensors.items() if name not in names}
    return msgspec.structs.replace(gguf, tensors=tensors)


def test_figures(tiny):
    count = len(tiny.metadata[TOKENS])
    model = check_model(tiny, count)
    assert (model.architecture, model.quantization) == ("qwen2", "Q4_0")
    assert (model.layers, model.hidden, model.heads, model.context_tokens) == (2, 64, 4, 2048)
    assert model.kv_numbers == 2 * 2 * 2 * 16
    assert model.parameters == sum(info.count for info in tiny.tensors.values())


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"qwen2__block_count": 3}, "says it has 3 blocks"),
        ({"qwen2__block_count": 1}, "of 2 up to number 1"),
        ({"qwen2__block_count": 0}, "block_count is 0; expected 1 to 4096"),
        ({"qwen2__block_count": None}, "no proper 'qwen2.block_count'"),
        ({"qwen2__block_count": "2"}, "no proper 'qwen2.block_count'"),
        ({"qwen2__embedding_length": 128}, "has the shape [64,"),
        ({"qwen2__embedding_length": 1 << 40}, "expected 1 to"),
        ({"qwen2__context_length": 0}, "context_length is 0"),
        ({"qwen2__context_length": 1 << 31}, "expected 1 to 16777216"),
        ({"qwen2__context_length": None}, "context_length"),
        ({"qwen2__attention__head_count": np.array([4, 4, 4])}, "one number for each of its 2"),
        ({"qwen2__attention__head_count": np.array([4, -1])}, "an impossible number"),
        ({"qwen2__attention__head_count": np.array([4.0, 4.0])}, "one number for each"),
        ({"qwen2__attention__key_length": -5}, "key_length is -5"),
    ],
)
def test_figures_that_cannot_be(tiny, metadata, said):
    with pytest.raises(MaasError) as refused:
        check_model(changed(tiny, **metadata), len(tiny.metadata[TOKENS]))
    assert refused.value.kind is ErrorKind.INVALID_ARGUMENT
    assert said in refused.value.message


def test_a_vocabulary_of_another_size_than_the_embedding(tiny):
    with pytest.raises(MaasError, match="its 7 tokens of 64 numbers"):
        check_model(tiny, 7)


def test_a_part_of_a_model(tiny):
    with pytest.raises(MaasError, match="holds a part of a model or none"):
        check_model(without(tiny, "token_embd.weight"), 1)
    blocks = [name for name in tiny.tensors if name.startswith("blk.")]
    with pytest.raises(MaasError, match="its tensors are of 0"):
        check_model(without(tiny, *blocks), len(tiny.metadata[TOKENS]))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"general__architecture": "bert"}, "embeddings come later"),
        ({"general__architecture": "nomic-bert"}, "embeddings come later"),
        ({"qwen2__pooling_type": 3}, "embeddings come later"),
        ({"general__architecture": "clip"}, "picture part of a model"),
        ({"general__architecture": "t5"}, "an encoder and a decoder"),
        ({"general__architecture": ""}, "names no architecture"),
        ({"general__architecture": "a\n"}, "names no architecture"),
        ({"general__architecture": 5}, "no proper 'general.architecture'"),
        ({"general__type": "adapter"}, "an adapter without its model"),
        ({"general__type": "mmproj"}, "picture part of a model"),
        ({"split__count": 3}, "one of several parts of a model"),
    ],
)
def test_what_is_no_language_model_is_refused_by_name(tiny, metadata, said):
    with pytest.raises(MaasError) as refused:
        check_kind(changed(tiny, **metadata))
    assert said in refused.value.message


def test_openvino_is_given_what_it_knows_in_its_plain_form(tiny):
    model = check_model(tiny, len(tiny.metadata[TOKENS]))
    assert openvino_trouble(tiny, model) == ""
    other = msgspec.structs.replace(model, architecture="gemma3")
    assert "this is gemma3" in openvino_trouble(tiny, other)
    scaled = changed(tiny, qwen2__rope__scaling__type="yarn")
    assert "qwen2.rope.scaling.type" in openvino_trouble(scaled, model)
    turned = changed(tiny, qwen2__rope__dimension_count=8)
    assert "not turned as a whole" in openvino_trouble(turned, model)
    assert "blk.1.attn_q.bias is missing" in openvino_trouble(
        without(tiny, "blk.1.attn_q.bias"), model
    )
    extra = TensorInfo("rope_freqs.weight", "F32", (8,), 0, 32)
    more = msgspec.structs.replace(tiny, tensors={**tiny.tensors, extra.name: extra})
    assert "leave out the tensor 'rope_freqs.weight'" in openvino_trouble(more, model)
    narrow = msgspec.structs.replace(tiny.tensors["blk.0.ffn_up.weight"], shape=(64, 64))
    wrong = msgspec.structs.replace(tiny, tensors={**tiny.tensors, narrow.name: narrow})
    assert "has the shape [64, 64]; it expects [64, 128]" in openvino_trouble(wrong, model)
