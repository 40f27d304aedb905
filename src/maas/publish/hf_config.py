"""The figures of a llama, qwen2 or qwen3, from config.json, where GGUF can say all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from maas.core.errors import invalid

LOWERED = ("llama", "qwen2", "qwen3")
"""Values of `model_type` that have a GGUF form written here."""
MOST_LAYERS = 4096
MOST_WIDTH = 1 << 20
MOST_TOKENS = 2_000_000
MOST_CONTEXT = 1 << 24
_THETA = 10_000.0


class KeptError(Exception):
    """The model is kept as it is, for transformers to serve; the message says why, in a clause."""


class Rope(Struct, frozen=True):
    """How positions turn queries and keys.

    Args:
        theta: the base of the frequencies.
        kind: `default`, `linear`, `yarn` or `llama3`.
        factor: of the scaling; 1 where there is none.
        original: tokens of the context before scaling; 0 where it does not matter.
        low: `low_freq_factor` of llama3.
        high: `high_freq_factor` of llama3.
    """

    theta: float
    kind: str = "default"
    factor: float = 1.0
    original: int = 0
    low: float = 1.0
    high: float = 4.0


class HfShape(Struct, frozen=True):
    """A model's figures.

    Args:
        architecture: `llama`, `qwen2` or `qwen3`, GGUF's name too.
        hidden: numbers for one token between blocks.
        layers: blocks.
        heads: of queries.
        kv_heads: of keys and values.
        head: numbers of one head.
        wide: numbers within a block's feed-forward part.
        vocabulary: rows of the embedding.
        context: tokens that it was made for.
        epsilon: of its norms.
        rope: its positions.
        tied: whether the output is the embedding again.
    """

    architecture: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    wide: int
    vocabulary: int
    context: int
    epsilon: float
    rope: Rope
    tied: bool


def shape_of(config: Mapping[str, Any]) -> HfShape:
    """Reads the figures.

    Raises:
        KeptError: for another architecture, or what GGUF has no words for.
        MaasError: INVALID_ARGUMENT for figures that no model has.
    """
    kind = config["model_type"]
    if kind not in LOWERED:
        raise KeptError(f"{kind} has no GGUF form here, only {', '.join(LOWERED)} have")
    _check_plain(config, kind)
    heads = count_of(config, "num_attention_heads", MOST_WIDTH)
    hidden = count_of(config, "hidden_size", MOST_WIDTH)
    head = count_of(config, "head_dim", MOST_WIDTH, 128 if kind == "qwen3" else hidden // heads)
    kv_heads = count_of(config, "num_key_value_heads", heads, 32 if kind == "qwen3" else heads)
    if head % 2 or heads % kv_heads:
        raise invalid(
            f"config.json has {heads} heads of {head} numbers over {kv_heads} of keys, which is "
            "impossible; save the model again"
        )
    context = count_of(config, "max_position_embeddings", MOST_CONTEXT, 2048)
    epsilon = _number(config, "rms_norm_eps", 1e-6)
    if not 0 < epsilon < 1:
        raise invalid(f"config.json says rms_norm_eps is {epsilon}; expected one such as 1e-6")
    return HfShape(
        architecture=kind,
        hidden=hidden,
        layers=count_of(config, "num_hidden_layers", MOST_LAYERS),
        heads=heads,
        kv_heads=kv_heads,
        head=head,
        wide=count_of(config, "intermediate_size", MOST_WIDTH),
        vocabulary=count_of(config, "vocab_size", MOST_TOKENS),
        context=context,
        epsilon=epsilon,
        rope=_rope(config, context),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def count_of(config: Mapping[str, Any], name: str, most: int, default: int | None = None) -> int:
    """A whole number above 0 of config.json.

    Raises:
        MaasError: INVALID_ARGUMENT where there is none and no default, or it is out of range.
    """
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise invalid(
            f"config.json says {name} is {str(value)[:40]!r}; expected a whole number, 1 to {most}"
        )
    return value


def _check_plain(config: Mapping[str, Any], kind: str) -> None:
    """Nothing that changes what is computed, and that GGUF's form of it does not know.

    Raises:
        KeptError: with the first such thing.
    """
    act = config.get("hidden_act", "silu")
    if act != "silu":
        raise KeptError(f"it computes with {str(act)[:40]}, and its GGUF form with silu alone")
    if (kind != "qwen2" and config.get("attention_bias")) or config.get("mlp_bias"):
        raise KeptError(f"it has biases that the GGUF form of {kind} has no place for")
    if config.get("partial_rotary_factor", 1.0) != 1.0:
        raise KeptError("its positions turn a part of each head only")
    layers = config.get("layer_types")
    windowed = bool(config.get("use_sliding_window")) and kind != "llama"
    if windowed or (isinstance(layers, list) and set(map(str, layers)) - {"full_attention"}):
        raise KeptError("some of its layers see a sliding window of tokens only")


def _rope(config: Mapping[str, Any], context: int) -> Rope:
    """Positions, as transformers 5 writes them (`rope_parameters`) or those before."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise invalid("config.json's rope_parameters are no object; save the model again")
    theta = _number(given, "rope_theta", _number(config, "rope_theta", _THETA))
    if not 1 < theta < 1e12:
        raise invalid(f"config.json says rope_theta is {theta}; expected one such as 10000")
    kind = given.get("rope_type", given.get("type", "default"))
    if kind == "default":
        return Rope(theta)
    if kind not in ("linear", "yarn", "llama3"):
        raise KeptError(f"its positions are scaled by {str(kind)[:40]}, which GGUF cannot say")
    original = 0
    if kind != "linear":
        original = count_of(given, "original_max_position_embeddings", MOST_CONTEXT, context)
    factor = _number(given, "factor", context / original if kind == "yarn" else 0.0)
    if not 1 <= factor <= 1e4:
        raise invalid(f"config.json scales positions by {factor}; expected 1 to 10000")
    if kind == "llama3":
        low, high = _number(given, "low_freq_factor", 1.0), _number(given, "high_freq_factor", 4.0)
        if not 0 < low < high:
            raise invalid("config.json's low_freq_factor is not below its high_freq_factor")
        return Rope(theta, kind, factor, original, low, high)
    if kind == "yarn":
        _check_yarn(given)
    return Rope(theta, kind, factor, original)


def _check_yarn(given: Mapping[str, Any]) -> None:
    """The figures that GGUF has no words for must be those that are meant where none are given."""
    usual = {"beta_fast": 32, "beta_slow": 1, "truncate": True}
    unusual = [name for name in usual if given.get(name) not in (None, usual[name])]
    unusual += [
        name for name in ("attention_factor", "mscale", "mscale_all_dim") if given.get(name)
    ]
    if unusual:
        raise KeptError(f"its positions are scaled by yarn with a {unusual[0]} of its own")


def rope_factors(shape: HfShape) -> list[float]:
    """By what llama3's scaling divides each frequency of a head.

    Source: Meta's Llama 3.1 reference, `apply_scaling`; GGUF keeps the divisors as a tensor.
    """
    rope, factors = shape.rope, []
    for at in range(0, shape.head, 2):
        wave = 2 * math.pi * rope.theta ** (at / shape.head)
        if wave < rope.original / rope.high:
            factors.append(1.0)
        elif wave > rope.original / rope.low:
            factors.append(rope.factor)
        else:
            smooth = (rope.original / wave - rope.low) / (rope.high - rope.low)
            factors.append(1 / ((1 - smooth) / rope.factor + smooth))
    return factors


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise invalid(f"config.json says {name} is {str(value)[:40]!r}; expected a number")
    return float(value)
