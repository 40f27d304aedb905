"""One model in two formats, and backends run without a scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maas.core.generation import GenerateRequest, Grammar, Sampling, TokenPrompt
from maas.core.ports import Artifact, GenerationBounds
from maas.runtimes.language.backend import Backend, Piece
from maas.runtimes.language.card import TOKENIZER, read_card
from maas.runtimes.language.openvino import OpenVINOBackend
from maas.runtimes.language.openvino_memory import plan_memory
from maas.runtimes.language.sampling_grammar import Grammars
from maas.runtimes.language.tokens import Vocabulary

CONTEXT = 2048
BOUNDS = GenerationBounds(threads=1, kv_bytes=64 << 20, sequences=8, batch_tokens=128)
NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
}

Asked = tuple[list[int], GenerateRequest, int]


def twin_folder(file: Path, folder: Path) -> Path:
    """The weights of a tiny qwen2 GGUF as a Hugging Face folder."""
    import gguf
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    reader = gguf.GGUFReader(file)
    state = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        *block, name, kind = tensor.name.split(".")
        layer = f"model.layers.{block[1]}." if block else ""
        state[f"{layer}{NAMES[name]}.{kind}"] = torch.from_numpy(values.copy())

    def said(name: str) -> Any:
        return reader.fields[f"qwen2.{name}"].contents()

    config = AutoConfig.for_model(
        "qwen2",
        hidden_size=said("embedding_length"),
        intermediate_size=said("feed_forward_length"),
        num_hidden_layers=said("block_count"),
        num_attention_heads=said("attention.head_count"),
        num_key_value_heads=said("attention.head_count_kv"),
        max_position_embeddings=said("context_length"),
        vocab_size=len(state["model.embed_tokens.weight"]),
        rms_norm_eps=said("attention.layer_norm_rms_epsilon"),
        rope_theta=said("rope.freq_base"),
        tie_word_embeddings=True,
    )
    model = AutoModelForCausalLM.from_config(config)
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    model.save_pretrained(folder)
    return folder


def parts(artifact: Path) -> tuple[Vocabulary, Grammars]:
    """What a backend needs beside its weights."""
    card, tokenizer = read_card(artifact), artifact / TOKENIZER
    grammars = Grammars(tokenizer, card.vocabulary, card.end_tokens)
    return Vocabulary(tokenizer, card), grammars


def asked(
    *, grammar: Grammar | None = None, echo: bool = False, **sampling: Any
) -> GenerateRequest:
    """A request of 16 tokens, the likeliest ones, unless `sampling` says otherwise."""
    fields = {"max_tokens": 16, "temperature": 0.0, "ignore_end": grammar is None} | sampling
    return GenerateRequest(TokenPrompt((0,)), Sampling(**fields), grammar, echo=echo)


def run(backend: Backend, jobs: Mapping[int, Asked]) -> dict[int, list[Piece]]:
    """Adds all choices and steps until they have ended."""
    for key, (prompt, request, seed) in jobs.items():
        backend.add(key, prompt, request, seed)
    found: dict[int, list[Piece]] = {key: [] for key in jobs}
    open_ = set(jobs)
    while open_:
        for piece in backend.step():
            found[piece.key].append(piece)
            if piece.finish or piece.error:
                open_.remove(piece.key)
    return found


def by_openvino(artifact: Path, prompts: list[list[int]]) -> dict[int, list[Piece]]:
    """What OpenVINO writes after each prompt, with logprobs."""
    document = Artifact(str(artifact), "model.gguf", "gguf", {})
    card, (vocabulary, _) = read_card(artifact), parts(artifact)
    plan = plan_memory(document, card, BOUNDS, CONTEXT)
    backend = OpenVINOBackend(document.file, card, vocabulary, BOUNDS, plan)
    return run(backend, {key: (p, asked(logprobs=0), 1) for key, p in enumerate(prompts)})


def one(backend: Backend, prompt: list[int], request: GenerateRequest, seed: int = 1) -> list[int]:
    """The tokens of one choice."""
    return tokens(run(backend, {1: (prompt, request, seed)})[1])


def tokens(pieces: list[Piece]) -> list[int]:
    """All tokens of a choice that ended well."""
    assert pieces[-1].error is None, pieces[-1].error
    return [token for piece in pieces for token in piece.tokens]


def until_near_tie(ours: list[Piece], theirs: list[Piece], apart: float) -> int:
    """How many tokens two greedy answers with `logprobs=2` have in common.

    Asserts that where they part the two likeliest tokens were less than `apart` apart.
    """
    common = 0
    for mine, other in zip(flat(ours), flat(theirs), strict=True):
        if mine.token != other.token:
            assert mine.top[0][1] - mine.top[1][1] < apart, (mine, other)
            break
        assert abs(mine.logprob - other.logprob) < apart
        common += 1
    return common


def flat(pieces: list[Piece]) -> list[Any]:
    """The logprobs of all tokens."""
    return [each for piece in pieces for each in piece.logprobs or ()]
