"""Log-probabilities in the shapes of chats and of completions."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from maas.core.generation import TokenLogprob

LEAST = -9999.0
"""What OpenAI writes for a probability of nothing; JSON has no infinity."""


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """`choices[].logprobs.content`: each token with its bytes, and the likeliest there."""
    return [
        {
            **_entry(one.token, one.logprob or 0.0),
            "top_logprobs": [_entry(token, logprob) for token, logprob in one.top],
        }
        for one in tokens
    ]


def _entry(token: bytes, logprob: float) -> dict[str, Any]:
    return {
        "token": token.decode("utf-8", "replace"),
        "logprob": max(logprob, LEAST),
        "bytes": list(token),
    }


class TextLogprobs:
    """`choices[].logprobs` of one choice of a completion: lists beside one another.

    Args:
        top: whether the likeliest tokens were asked for.
    """

    __slots__ = ("_decoder", "_offset", "_top")

    def __init__(self, top: bool):
        self._top = top
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, tokens: Sequence[TokenLogprob]) -> dict[str, list[Any] | None]:
        """Writes those of the next tokens. Offsets are characters of the choice's text."""
        offsets = []
        for one in tokens:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(one.token))
        return {
            "tokens": [token_text(one.token) for one in tokens],
            "token_logprobs": [_floor(one.logprob) for one in tokens],
            "top_logprobs": [_likeliest(one) for one in tokens] if self._top else None,
            "text_offset": offsets,
        }


def _likeliest(one: TokenLogprob) -> dict[str, float] | None:
    """The likeliest tokens; the chosen one is always among them."""
    if one.logprob is None:
        return None
    found = {token_text(token): max(logprob, LEAST) for token, logprob in one.top}
    found.setdefault(token_text(one.token), max(one.logprob, LEAST))
    return found


def _floor(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, LEAST)


def token_text(token: bytes) -> str:
    r"""A token as completions write it: one that ends inside a character as `bytes:\xe4\xbd`."""
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join([f"\\x{byte:02x}" for byte in token])
