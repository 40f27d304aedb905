"""Deltas → a completion, at once or as events. Choice i of prompt p has the index p·n + i."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from maas.core.errors import MaasError
from maas.core.generation import Delta, FinishReason, Usage
from maas.dialects.openai.head import Frames, Head, added, usage_members
from maas.dialects.openai.logprobs import TextLogprobs

KIND = "text_completion"


class CompletionShape:
    """What is told of the deltas of a completion, whichever way it is written.

    Args:
        choices: answers of each prompt.
        logprobs: whether tokens come with their probabilities.
        top: whether the likeliest other ones do, too.
    """

    __slots__ = ("_logprobs", "_of_choice", "_top", "_usages", "choices")

    def __init__(self, choices: int, *, logprobs: bool, top: bool):
        self.choices = choices
        self._logprobs = logprobs
        self._top = top
        self._of_choice: dict[int, TextLogprobs] = {}
        self._usages: list[Usage] = []

    def index(self, call: int, delta: Delta) -> int:
        """The index of a delta's choice in the answer; its usage is kept."""
        if delta.usage is not None:
            self._usages.append(delta.usage)
        return call * self.choices + delta.index

    def logprobs(self, index: int, delta: Delta) -> dict[str, list[Any] | None] | None:
        """Those of a delta, where they were asked for and are there."""
        if not self._logprobs or delta.logprobs is None:
            return None
        of_choice = self._of_choice.get(index)
        if of_choice is None:
            of_choice = self._of_choice[index] = TextLogprobs(self._top)
        return of_choice.write(delta.logprobs)

    @property
    def usage(self) -> Usage:
        """Of all prompts so far."""
        return added(self._usages)


class CompletionEvents:
    """Writes a completion as events.

    Args:
        head: of the answer.
        shape: what is told of its deltas.
        usage: whether the stream ends with what was used.
    """

    __slots__ = ("_frames", "_shape")

    def __init__(self, head: Head, shape: CompletionShape, usage: bool):
        self._frames = Frames(head, KIND, usage)
        self._shape = shape

    def write(self, ready: Sequence[tuple[int, Delta]]) -> bytes:
        """Writes what has come: which prompt's, and what."""
        shape, chunk = self._shape, self._frames.chunk
        parts = []
        for call, delta in ready:
            index = shape.index(call, delta)
            told = shape.logprobs(index, delta)
            if delta.text or told is not None or delta.finish is not None:
                parts.append(
                    chunk(
                        index,
                        b'"text":' + orjson.dumps(delta.text),
                        b"null" if told is None else orjson.dumps(told),
                        b"null" if delta.finish is None else b'"%s"' % delta.finish.encode(),
                    )
                )
        return b"".join(parts)

    def end(self) -> bytes:
        """What follows the last of it."""
        return self._frames.end(self._shape.usage)

    def fail(self, error: MaasError) -> bytes:
        """Why nothing more comes."""
        return self._frames.fail(error)


class _Choice:
    __slots__ = ("finish", "logprobs", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.logprobs: dict[str, list[Any] | None] | None = None
        self.finish: FinishReason = "stop"


class CompletionAnswer:
    """Writes a completion whole.

    Args:
        head: of the answer.
        shape: what is told of its deltas.
        prompts: how many there are.
    """

    __slots__ = ("_choices", "_head", "_shape")

    def __init__(self, head: Head, shape: CompletionShape, prompts: int):
        self._head = head
        self._shape = shape
        self._choices = [_Choice() for _ in range(prompts * shape.choices)]

    def add(self, ready: Sequence[tuple[int, Delta]]) -> None:
        """Takes what has come: which prompt's, and what."""
        for call, delta in ready:
            index = self._shape.index(call, delta)
            choice = self._choices[index]
            choice.text.append(delta.text)
            told = self._shape.logprobs(index, delta)
            if told is not None and choice.logprobs is None:
                choice.logprobs = told
            elif told is not None and choice.logprobs is not None:
                for name, values in told.items():
                    kept = choice.logprobs[name]
                    if kept is not None and values is not None:
                        kept += values
            if delta.finish is not None:
                choice.finish = delta.finish

    def body(self) -> bytes:
        """The answer."""
        return orjson.dumps(
            {
                **self._head.members(KIND),
                "choices": [
                    {
                        "index": index,
                        "text": "".join(choice.text),
                        "logprobs": choice.logprobs,
                        "finish_reason": choice.finish,
                    }
                    for index, choice in enumerate(self._choices)
                ],
                "usage": usage_members(self._shape.usage),
            }
        )
