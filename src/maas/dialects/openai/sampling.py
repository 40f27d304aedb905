"""How tokens are to be chosen: the parameters that chats and completions have in common."""

from __future__ import annotations

from typing import Any

from maas.core.generation import Sampling
from maas.core.messages import ModelView
from maas.dialects.openai.errors import ParameterError
from maas.dialects.openai.fields import Fields, is_number, is_whole, shown

MAX_TOKENS = 1 << 31
MAX_CHOICES = 128
"""Answers of one request: OpenAI's own bound of `n`."""
MAX_STOPS = 16
MAX_STOP = 1024
MAX_STOP_TOKENS = 64
MAX_BIASES = 1024
MAX_LOGPROBS = 20
LEAST_TOP_P = 1e-6
"""What a `top_p` of 0 stands for, which leaves the likeliest token alone."""
_SEED_BITS = (1 << 63) - 1


def read_sampling(fields: Fields, max_tokens: int | None, logprobs: int | None) -> Sampling:
    """Reads them.

    Args:
        fields: of the request.
        max_tokens: of an answer.
        logprobs: as `Sampling` has it.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    seed = fields.whole("seed", -(1 << 63), (1 << 64) - 1)
    top_k = fields.whole("top_k", -1, MAX_TOKENS)
    return Sampling(
        max_tokens=max_tokens,
        temperature=fields.number("temperature", 0, 2, 1.0),
        top_p=max(fields.number("top_p", 0, 1, 1.0), LEAST_TOP_P),
        top_k=max(top_k or 0, 0),
        min_p=fields.number("min_p", 0, 1, 0.0),
        presence_penalty=fields.number("presence_penalty", -2, 2, 0.0),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, 0.0),
        repetition_penalty=fields.number("repetition_penalty", 0.01, 100, 1.0),
        seed=None if seed is None else seed & _SEED_BITS,
        stop=_read_stop(fields),
        stop_tokens=tuple(_read_tokens(fields)),
        ignore_end=fields.flag("ignore_eos"),
        logit_bias=_read_biases(fields),
        logprobs=logprobs,
    )


def check_tokens(sampling: Sampling, view: ModelView) -> None:
    """Checks the tokens that are named against the model's vocabulary.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    assert view.generative is not None
    size = view.generative.vocabulary
    for param, tokens in (
        ("logit_bias", sampling.logit_bias or ()),
        ("stop_token_ids", sampling.stop_tokens),
    ):
        for token in tokens:
            if token >= size:
                raise ParameterError(
                    param,
                    f"{param} names token {token}; {view.servable} has {size} tokens, from 0 on",
                )


def _read_stop(fields: Fields) -> tuple[str, ...]:
    value = fields.get("stop")
    if isinstance(value, str):
        value = [value]
    elif value is None:
        return ()
    elif not isinstance(value, list):
        raise fields.refused("stop", f"a string or a list of up to {MAX_STOPS} strings")
    if len(value) > MAX_STOPS:
        raise ParameterError(
            "stop", f"stop holds {len(value)} strings; at most {MAX_STOPS} are taken"
        )
    for one in value:
        if not isinstance(one, str) or not one:
            what = "an empty string" if one == "" else shown(one)
            raise ParameterError("stop", f"stop holds {what}; expected strings of a character on")
        if len(one) > MAX_STOP:
            raise ParameterError(
                "stop", f"a stop string has {len(one)} characters; at most {MAX_STOP} are taken"
            )
    return tuple(value)


def _read_tokens(fields: Fields) -> list[int]:
    tokens = fields.list("stop_token_ids", MAX_STOP_TOKENS) or []
    for token in tokens:
        if not is_whole(token) or not 0 <= token < MAX_TOKENS:
            raise ParameterError(
                "stop_token_ids", f"stop_token_ids holds {shown(token)}; expected tokens' numbers"
            )
    return tokens


def _read_biases(fields: Fields) -> dict[int, float] | None:
    members = fields.object("logit_bias")
    if not members:
        return None
    if len(members) > MAX_BIASES:
        raise ParameterError(
            "logit_bias",
            f"logit_bias names {len(members)} tokens; at most {MAX_BIASES} are taken",
        )
    return {_read_token(key): _read_bias(value) for key, value in members.items()}


def _read_token(key: str) -> int:
    if not key.isascii() or not key.isdigit() or len(key) > 10:
        raise ParameterError(
            "logit_bias", f"logit_bias has the key {shown(key)}; expected tokens' numbers"
        )
    return int(key)


def _read_bias(value: Any) -> float:
    if not is_number(value) or not -100 <= value <= 100:
        raise ParameterError(
            "logit_bias", f"logit_bias holds {shown(value)}; expected numbers from -100 to 100"
        )
    return float(value)
