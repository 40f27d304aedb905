"""How tokens are to be chosen, in OpenVINO GenAI's words."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from maas.core.errors import invalid
from maas.core.generation import GenerateRequest, Grammar
from maas.runtimes.language.calls import scores_prompt
from maas.runtimes.language.card import LanguageCard
from maas.runtimes.language.xgrammar import for_xgrammar

GREEDY = 1e-4
"""Temperatures below it take the likeliest token: dividing by them overflows."""
LEAST = 1e-6
"""The smallest `top_p`: that of the likeliest token alone."""
MOST = 1 - 1e-6
"""The largest `min_p`: that of the likeliest token alone."""
MOST_TRIED = 8_000_000
"""Tokens that are tried while a schema is compiled, for the bounds of its texts."""
REPEATED = re.compile(r"\{(\d+)(?:,(\d*))?\}")
"""How often a part of a pattern may be repeated."""
BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
BOUNDED_NUMBER = 1.0
"""A number with bounds, in places: its digits are spelled out, range by range."""
ENDLESS = re.compile(r"[*+]|\{\d+,\}")
ENDLESS_PART = 0.25
"""A part of a pattern that may be repeated for ever."""
OPTIONAL_PAIR = 1 / 300
"""Any two properties that may be left out: each can come after each."""
ANY_OBJECT = '{"type":"object"}'


def config_of(genai: Any, card: LanguageCard, request: GenerateRequest, seed: int) -> Any:
    """A `GenerationConfig`. Stop strings are not in it: they are looked for as texts are written.

    Args:
        genai: the module `openvino_genai`.
        card: whose end tokens end the answer.
        request: `sampling.max_tokens` is a number.
        seed: of 63 bits.

    Raises:
        MaasError: INVALID_ARGUMENT for a schema that takes too long to compile.
    """
    sampling = request.sampling
    config = genai.GenerationConfig()
    config.max_new_tokens = sampling.max_tokens
    ends = {*card.end_tokens, *sampling.stop_tokens}
    # What a grammar has completed can only be followed by an end token.
    config.ignore_eos = not ends or (sampling.ignore_end and request.grammar is None)
    ends = ends or {0}  # without any, the pipeline's own would hold, which may be none: -1
    config.eos_token_id = min(ends)
    config.stop_token_ids = ends
    if sampling.temperature >= GREEDY:
        config.do_sample = True
        config.temperature = sampling.temperature
        config.top_p = max(sampling.top_p, LEAST)
        config.min_p = min(sampling.min_p, MOST)
        if sampling.top_k:
            config.top_k = sampling.top_k
        config.rng_seed = (seed ^ seed >> 32) & 0xFFFFFFFF  # its generator takes 32 bits
    config.presence_penalty = sampling.presence_penalty
    config.frequency_penalty = sampling.frequency_penalty
    config.repetition_penalty = sampling.repetition_penalty
    if sampling.logprobs is not None:
        config.logprobs = 1
        config.echo = scores_prompt(request)
    if request.grammar is not None:
        config.structured_output_config = _structure(genai, card, request.grammar)
    return config


def _structure(genai: Any, card: LanguageCard, grammar: Grammar) -> Any:
    found = genai.StructuredOutputConfig()
    found.json_schema = ANY_OBJECT
    if grammar.schema is not None:
        found.json_schema = for_xgrammar(grammar.schema)
        _check_cost(found.json_schema, card.vocabulary)
    return found


def _check_cost(schema: str, vocabulary: int) -> None:
    """Refuses what would hold up every caller while it is compiled.

    xgrammar tries the whole vocabulary at each place of a text of bounded length: 50 characters
    with 150,000 tokens take 2 s of a processor. What else takes long is counted in such places.

    Raises:
        MaasError: INVALID_ARGUMENT, with both figures.
    """
    most = MOST_TRIED // vocabulary
    places = sum(int(upper or lower) for lower, upper in REPEATED.findall(schema))
    if places > most:
        raise invalid(
            f"the schema bounds texts to {places} characters in all, by maxLength, minLength or"
            f" pattern; this model's engine follows at most {most}; leave such bounds out, or"
            " publish the model with --engine llamacpp"
        )
    places += int(_others(msgspec.json.decode(schema)))
    if places > most:
        raise invalid(
            f"the schema's patterns, bounded numbers and optional properties take as long to"
            f" prepare as {places} characters of bounded texts; this model's engine follows at"
            f" most {most}; leave some out, or publish the model with --engine llamacpp"
        )


def _others(node: Any) -> float:
    """What a schema holds besides bounded texts, in places of these; measured, rounded up."""
    if isinstance(node, list):
        return sum(map(_others, node))
    if not isinstance(node, dict):
        return 0.0
    found = 0.0
    if node.get("type") in ("integer", "number") and not BOUNDS.isdisjoint(node):
        found += BOUNDED_NUMBER
    if isinstance(node.get("pattern"), str):
        found += ENDLESS_PART * len(ENDLESS.findall(node["pattern"]))
    if isinstance(node.get("properties"), dict):
        required = node.get("required", ())
        optional = [
            one
            for name, one in node["properties"].items()
            if name not in required and not (isinstance(one, dict) and one.get("type") == "string")
        ]
        found += OPTIONAL_PAIR * len(optional) ** 2
    return found + sum(map(_others, node.values()))
