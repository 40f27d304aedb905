"""How tokens are to be chosen, in OpenVINO GenAI's words."""

from __future__ import annotations

from typing import Any

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
ANY_OBJECT = '{"type":"object"}'


def config_of(genai: Any, card: LanguageCard, request: GenerateRequest, seed: int) -> Any:
    """A `GenerationConfig`. Stop strings are not in it: they are looked for as texts are written.

    Args:
        genai: the module `openvino_genai`.
        card: whose end tokens end the answer.
        request: `sampling.max_tokens` is a number.
        seed: of 63 bits.
    """
    sampling = request.sampling
    config = genai.GenerationConfig()
    config.max_new_tokens = sampling.max_tokens or 1  # without any, what is cached gives noise
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
        config.structured_output_config = _structure(genai, request.grammar)
    return config


def _structure(genai: Any, grammar: Grammar) -> Any:
    found = genai.StructuredOutputConfig()
    found.json_schema = ANY_OBJECT if grammar.schema is None else for_xgrammar(grammar.schema)
    return found
