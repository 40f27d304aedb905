"""A completion's body → what is asked of the model."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from maas.core.generation import Feature, GenerateRequest, Prompt, TextPrompt, TokenPrompt
from maas.core.messages import ModelView
from maas.dialects.openai.errors import ParameterError
from maas.dialects.openai.features import fit
from maas.dialects.openai.fields import Fields, is_whole, read_fields, shown
from maas.dialects.openai.grammar import read_grammar
from maas.dialects.openai.options import Options, read_model, read_options
from maas.dialects.openai.sampling import (
    MAX_CHOICES,
    MAX_LOGPROBS,
    MAX_TOKENS,
    check_tokens,
    read_sampling,
)

DEFAULT_TOKENS = 16
"""Of an answer without `max_tokens`, as in OpenAI's API."""
MAX_PROMPT_TOKENS = 1 << 20
NAMES = {
    Feature.LOGPROBS: "logprobs",
    Feature.TOP_LOGPROBS: "logprobs",
    Feature.PROMPT_LOGPROBS: "echo",
    Feature.LOGIT_BIAS: "logit_bias",
    Feature.MIN_P: "min_p",
    Feature.JSON: "response_format",
    Feature.JSON_SCHEMA: "response_format",
}
"""What asks for each feature here."""


class CompletionBody(Struct, frozen=True):
    """A completion, read, before it is known which model answers it.

    Args:
        model: what its `model` says; None where it says nothing.
        options: how it is answered.
        requests: one for each prompt.
    """

    model: str | None
    options: Options
    requests: tuple[GenerateRequest, ...]


def read_completion(body: bytes) -> CompletionBody:
    """Reads a body.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    fields = read_fields(body)
    if fields.get("suffix") not in (None, ""):
        raise ParameterError("suffix", "suffix is not done here; leave it out")
    prompts = _read_prompts(fields)
    choices = fields.whole("n", 1, MAX_CHOICES) or 1
    best = fields.whole("best_of", 1, MAX_CHOICES)
    if best not in (None, 1, choices):
        raise ParameterError(
            "best_of", f"best_of is {best}; no answers are chosen among here: leave it out"
        )
    if choices * len(prompts) > MAX_CHOICES:
        raise ParameterError(
            "n",
            f"{len(prompts)} prompts with {choices} answers each are {choices * len(prompts)}; at "
            f"most {MAX_CHOICES} answers are given to one request",
        )
    logprobs = fields.whole("logprobs", 0, MAX_LOGPROBS)
    asked = fields.whole("max_tokens", 0, MAX_TOKENS)
    sampling = read_sampling(fields, DEFAULT_TOKENS if asked is None else asked, logprobs)
    echo = fields.flag("echo")
    if sampling.max_tokens == 0 and not echo:
        raise ParameterError("max_tokens", "max_tokens is 0, and echo is not asked for")
    grammar = read_grammar(fields)
    requests = tuple(
        GenerateRequest(prompt, sampling, grammar, choices, echo) for prompt in prompts
    )
    return CompletionBody(read_model(fields), read_options(fields), requests)


def fit_completion(
    body: CompletionBody, view: ModelView
) -> tuple[tuple[GenerateRequest, ...], tuple[str, ...]]:
    """Makes of a completion what its model can do.

    Returns:
        One request for each prompt, and the parameters that were left out.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    check_tokens(body.requests[0].sampling, view)
    fitted = [fit(request, view, NAMES) for request in body.requests]
    return tuple(request for request, _ in fitted), fitted[0][1]


def _read_prompts(fields: Fields) -> list[Prompt]:
    """A text, texts, tokens, or lists of tokens."""
    value = fields.get("prompt")
    if isinstance(value, str):
        return [TextPrompt(value)]
    if value == []:
        raise ParameterError("prompt", "prompt is empty; expected one prompt at least")
    if not isinstance(value, list):
        raise fields.refused("prompt", "a string, a list of strings, or tokens")
    if is_whole(value[0]):
        return [_read_tokens(value, "prompt")]
    if len(value) > MAX_CHOICES:
        raise ParameterError(
            "prompt", f"prompt holds {len(value)} prompts; at most {MAX_CHOICES} are taken"
        )
    prompts: list[Prompt] = []
    for index, one in enumerate(value):
        path = f"prompt[{index}]"
        if isinstance(one, str) and isinstance(value[0], str):
            prompts.append(TextPrompt(one))
        elif isinstance(one, list) and isinstance(value[0], list):
            prompts.append(_read_tokens(one, path))
        else:
            raise ParameterError(
                "prompt", f"{path} is {shown(one)}; expected strings alone, or lists of tokens"
            )
    return prompts


def _read_tokens(value: list[Any], path: str) -> TokenPrompt:
    if not value:
        raise ParameterError("prompt", f"{path} is empty; expected tokens")
    if len(value) > MAX_PROMPT_TOKENS:
        raise ParameterError(
            "prompt", f"{path} holds {len(value)} tokens; at most {MAX_PROMPT_TOKENS} are taken"
        )
    for token in value:
        if not is_whole(token) or not 0 <= token < MAX_TOKENS:
            raise ParameterError(
                "prompt", f"{path} holds {shown(token)}; expected tokens' numbers alone"
            )
    return TokenPrompt(tuple(value))
