"""What all chunks of an answer share, written once; and what was used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from msgspec import Struct

from maas.core.errors import MaasError
from maas.core.generation import Usage
from maas.dialects.openai.errors import encode_error

DONE = b"data: [DONE]\n\n"


class Head(Struct, frozen=True):
    """What the whole answer says of itself.

    Args:
        id: of the answer, such as `chatcmpl-…`.
        created: seconds since 1970.
        model: as it was asked for.
        fingerprint: the same for the same version behind the same engine.
    """

    id: str
    created: int
    model: str
    fingerprint: str

    def members(self, kind: str) -> dict[str, Any]:
        """The first members of an answer.

        Args:
            kind: its `object`.
        """
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


class Frames:
    """Writes the chunks of a stream: what is the same in each is made once.

    Args:
        head: of the answer.
        kind: the chunks' `object`.
        usage: whether the last chunk holds what was used; every other one then has a null.
    """

    __slots__ = ("_after", "_before", "_between", "_usage")

    def __init__(self, head: Head, kind: str, usage: bool):
        self._before = b"data: " + orjson.dumps(head.members(kind))[:-1] + b',"choices":['
        self._between = b',"usage":null}\n\n' if usage else b"}\n\n"
        self._after = b"}]" + self._between
        self._usage = usage

    def chunk(self, index: int, member: bytes, logprobs: bytes, finish: bytes) -> bytes:
        """One chunk of one choice.

        Args:
            index: the choice's.
            member: what it holds, such as `"delta":{…}`.
            logprobs: JSON, or null.
            finish: JSON, or null.
        """
        return b'%s{"index":%d,%s,"logprobs":%s,"finish_reason":%s%s' % (
            self._before, index, member, logprobs, finish, self._after
        )  # fmt: skip

    def end(self, usage: Usage) -> bytes:
        """What follows the last chunk of the last choice."""
        if not self._usage:
            return DONE
        return b'%s],"usage":%s}\n\n%s' % (self._before, orjson.dumps(usage_members(usage)), DONE)

    @staticmethod
    def fail(error: MaasError) -> bytes:
        """The frame of an error; nothing follows it."""
        return b"data: %s\n\n" % encode_error(error)


def usage_members(usage: Usage) -> dict[str, Any]:
    """`usage`."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def added(usages: Iterable[Usage]) -> Usage:
    """The usage of all calls of one answer."""
    prompt = completion = cached = 0
    for one in usages:
        prompt += one.prompt_tokens
        completion += one.completion_tokens
        cached += one.cached_tokens
    return Usage(prompt, completion, cached)
