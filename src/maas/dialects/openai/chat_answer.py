"""Deltas → a chat's answer, at once or as events: texts, calls of tools, probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from msgspec import Struct

from maas.core.errors import MaasError
from maas.core.generation import Delta, Usage
from maas.dialects.openai.head import Frames, Head, added, usage_members
from maas.dialects.openai.logprobs import chat_logprobs
from maas.dialects.openai.tools import CallStart, Content, Event, ToolParser

_ROLE = b'"delta":{"role":"assistant","content":""}'
_NOTHING = b'"delta":{}'
_NULL = b"null"


class ChatShape(Struct, frozen=True):
    """What is told of a chat's deltas, whichever way they are written.

    Args:
        logprobs: whether tokens come with their probabilities.
        parser: makes what finds calls of tools in a choice's text; None where there are none.
        parallel: whether a choice may call several.
        call_id: makes the id of a call.
    """

    logprobs: bool
    parser: Callable[[], ToolParser] | None
    parallel: bool
    call_id: Callable[[], str]


class _Reading:
    """What one choice's text says."""

    __slots__ = ("_parallel", "_parser", "called")

    def __init__(self, shape: ChatShape):
        self._parser = None if shape.parser is None else shape.parser()
        self._parallel = shape.parallel
        self.called = False

    def events(self, delta: Delta) -> Sequence[Event]:
        if self._parser is None:
            return (Content(delta.text),) if delta.text else ()
        found = self._parser.feed(delta.text)
        if delta.finish is not None:
            found = [*found, *self._parser.end()]
        if not self._parallel:
            found = [one for one in found if isinstance(one, Content) or one.index == 0]
        if not self.called:
            self.called = any(isinstance(one, CallStart) for one in found)
        return found

    def finish(self, delta: Delta) -> str:
        return "tool_calls" if self.called and delta.finish == "stop" else str(delta.finish)


class ChatEvents:
    """Writes a chat's answer as events.

    Args:
        head: of the answer.
        shape: what is told of its deltas.
        choices: how many there are.
        usage: whether the stream ends with what was used.
    """

    __slots__ = ("_begun", "_frames", "_readings", "_shape", "_usages")

    def __init__(self, head: Head, shape: ChatShape, choices: int, usage: bool):
        self._frames = Frames(head, "chat.completion.chunk", usage)
        self._shape = shape
        self._readings = [_Reading(shape) for _ in range(choices)]
        self._begun = False
        self._usages: list[Usage] = []

    def write(self, ready: Sequence[tuple[int, Delta]]) -> bytes:
        """Writes what has come. The first chunk of a choice has its role.

        Those come first, in order, whichever choice is written first: OpenAI's own client keeps
        choices in a list, and appends each as it meets it.
        """
        chunk = self._frames.chunk
        parts: list[bytes] = []
        if not self._begun:
            self._begun = True
            parts += [chunk(index, _ROLE, _NULL, _NULL) for index in range(len(self._readings))]
        for _, delta in ready:
            index = delta.index
            reading = self._readings[index]
            told = _NULL
            if delta.logprobs is not None and self._shape.logprobs:
                told = orjson.dumps({"content": chat_logprobs(delta.logprobs), "refusal": None})
            for event in reading.events(delta):
                parts.append(chunk(index, self._member(event), told, _NULL))
                told = _NULL
            if delta.finish is not None:
                finish = b'"%s"' % reading.finish(delta).encode()
                parts.append(chunk(index, _NOTHING, told, finish))
            elif told is not _NULL:
                parts.append(chunk(index, b'"delta":{"content":""}', told, _NULL))
            if delta.usage is not None:
                self._usages.append(delta.usage)
        return b"".join(parts)

    def _member(self, event: Event) -> bytes:
        if isinstance(event, Content):
            return b'"delta":{"content":%s}' % orjson.dumps(event.text)
        call: dict[str, Any] = {"index": event.index}
        if isinstance(event, CallStart):
            call |= {
                "id": self._shape.call_id(),
                "type": "function",
                "function": {"name": event.name, "arguments": ""},
            }
        else:
            call["function"] = {"arguments": event.text}
        return b'"delta":{"tool_calls":[%s]}' % orjson.dumps(call)

    def end(self) -> bytes:
        """What follows the last of it."""
        return self._frames.end(added(self._usages))

    def fail(self, error: MaasError) -> bytes:
        """Why nothing more comes."""
        return self._frames.fail(error)


class _Choice:
    __slots__ = ("calls", "finish", "logprobs", "reading", "text")

    def __init__(self, shape: ChatShape):
        self.reading = _Reading(shape)
        self.text: list[str] = []
        self.calls: dict[int, tuple[str, list[str]]] = {}
        self.logprobs: list[dict[str, Any]] | None = None
        self.finish = "stop"

    def add(self, event: Event) -> None:
        if isinstance(event, Content):
            self.text.append(event.text)
        elif isinstance(event, CallStart):
            self.calls[event.index] = (event.name, [])
        else:
            self.calls[event.index][1].append(event.text)


class ChatAnswer:
    """Writes a chat's answer whole.

    Args:
        head: of the answer.
        shape: what is told of its deltas.
        choices: how many there are.
    """

    __slots__ = ("_choices", "_head", "_shape", "_usages")

    def __init__(self, head: Head, shape: ChatShape, choices: int):
        self._head = head
        self._shape = shape
        self._choices = [_Choice(shape) for _ in range(choices)]
        self._usages: list[Usage] = []

    def add(self, ready: Sequence[tuple[int, Delta]]) -> None:
        """Takes what has come."""
        for _, delta in ready:
            choice = self._choices[delta.index]
            for event in choice.reading.events(delta):
                choice.add(event)
            if delta.logprobs is not None and self._shape.logprobs:
                if choice.logprobs is None:
                    choice.logprobs = []
                choice.logprobs += chat_logprobs(delta.logprobs)
            if delta.finish is not None:
                choice.finish = choice.reading.finish(delta)
            if delta.usage is not None:
                self._usages.append(delta.usage)

    def body(self) -> bytes:
        """The answer."""
        choices = [self._written(index, one) for index, one in enumerate(self._choices)]
        return orjson.dumps(
            {
                **self._head.members("chat.completion"),
                "choices": choices,
                "usage": usage_members(added(self._usages)),
            }
        )

    def _written(self, index: int, choice: _Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if choice.calls and not text.strip() else text,
            "refusal": None,
        }
        if choice.calls:
            message["tool_calls"] = [
                {
                    "id": self._shape.call_id(),
                    "type": "function",
                    "function": {"name": name, "arguments": "".join(arguments)},
                }
                for name, arguments in choice.calls.values()
            ]
        logprobs = choice.logprobs
        return {
            "index": index,
            "message": message,
            "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
            "finish_reason": choice.finish,
        }
