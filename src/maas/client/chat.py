"""Conversations over `POST /v1/chat/completions`: the request, the reply, and its stream; sans-I/O.

    messages ─▶ chat_body ─▶ bytes ─▶ read_reply            one answer
                             bytes ─▶ ReplyStream.feed ─▶ texts ─▶ .reply

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import msgspec
from msgspec import Struct

from maas.client.call import reader
from maas.client.errors import ServerUnreachable, frame_error
from maas.client.events import StreamLines
from maas.core.errors import ErrorKind, MaasError, invalid

PATH = "/v1/chat/completions"
WAIT_S = 600.0
"""How long an answer may take to begin, or to go on: long prompts take their time on a CPU."""

Messages = str | Sequence[Mapping[str, Any]]
"""What the user says, or the whole conversation: `[{"role": "user", "content": "Hello"}]`."""


class ChatOptions(TypedDict, total=False):
    """How a conversation is to be answered. What is left out is as the server has it.

    Keys that are not here are sent as they are.

    Keys:
        system: a message to the model, before all others.
        max_tokens: of the answer, at most.
        temperature: 0 takes the likeliest token; 2 is the most.
        top_p: the smallest set of likeliest tokens whose probabilities add up to this.
        top_k: so many likeliest tokens.
        min_p: tokens at least this likely, relative to the likeliest.
        presence_penalty, frequency_penalty: against repetition, -2 to 2.
        seed: the same seed gives the same answer.
        stop: one or more texts before which the answer ends.
        tools: `[{"type": "function", "function": {"name": …, "parameters": {…}}}]`.
        tool_choice: `auto`, `none`, `required`, or one of them.
        response_format: `{"type": "json_object"}`, or a `json_schema`.
    """

    system: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    response_format: Mapping[str, Any] | None


class ToolCall(Struct, frozen=True):
    """A function that the model wants called.

    Args:
        id: to be named in the message with the result.
        name: of the function.
        arguments: a JSON object, as the model wrote it.
    """

    id: str
    name: str
    arguments: str


class ChatUsage(Struct, frozen=True):
    """Tokens of a call; `cached_tokens` of the prompt's were known from earlier ones."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class ChatReply(Struct, frozen=True):
    """What a language model answered; `str(reply)` is its text.

    Args:
        text: the answer.
        finish_reason: `stop`, `length` where it was cut off, or `tool_calls`; empty where it was
            not heard to its end.
        usage: what it took.
        tool_calls: functions to be called.
        model: who answered.
    """

    text: str
    finish_reason: str = ""
    usage: ChatUsage = ChatUsage()
    tool_calls: tuple[ToolCall, ...] = ()
    model: str = ""

    def __str__(self) -> str:
        return self.text


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Message(Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Completion(Struct):
    choices: list[_Choice] = []
    model: str = ""
    usage: _Usage | None = None
    error: Any = None


_read = reader(_Completion)


def chat_body(model: str, messages: Messages, stream: bool, options: Mapping[str, Any]) -> bytes:
    """Writes a request.

    Raises:
        MaasError: INVALID_ARGUMENT for what JSON cannot say, and messages of another form.
    """
    given = {name: value for name, value in options.items() if value is not None}
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    if not all(isinstance(message, Mapping) for message in said):
        raise invalid(
            "messages is neither a text nor a list of messages; expected one such as "
            '[{"role": "user", "content": "Hello"}]'
        )
    if (system := given.pop("system", None)) is not None:
        said = [{"role": "system", "content": system}, *said]
    body: dict[str, Any] = {"model": model, "messages": said, **given}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise invalid(f"the messages or options are not JSON: {error}") from None


def read_reply(body: bytes) -> ChatReply:
    """Reads an answer that came at once.

    Raises:
        MaasError: INTERNAL for what is no such answer.
    """
    completion = _read(body)
    if not completion.choices:
        raise MaasError(ErrorKind.INTERNAL, "the answer has no choices; is the URL right?")
    choice = completion.choices[0]
    message = choice.message or _Message()
    calls = _Calls()
    for index, call in enumerate(message.tool_calls or ()):
        calls.add(index, call)
    return ChatReply(
        message.content or "",
        choice.finish_reason or "",
        _usage(completion.usage),
        calls.whole,
        completion.model,
    )


class ReplyStream:
    """Reads an answer that comes in pieces, whatever the chunks that they arrive in.

    Feed it the bytes and then `end` it; `reply` is what has been said so far.
    """

    def __init__(self) -> None:
        self._lines = StreamLines()
        self._texts: list[str] = []
        self._calls = _Calls()
        self._finish = ""
        self._usage = ChatUsage()
        self._model = ""
        self._done = False

    @property
    def reply(self) -> ChatReply:
        """What has been said so far."""
        return ChatReply(
            "".join(self._texts), self._finish, self._usage, self._calls.whole, self._model
        )

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yields the texts that a chunk completes.

        Raises:
            ApiError: the answer failed on its way.
            ServerUnreachable: a line without end.
        """
        for line in self._lines.feed(chunk):
            name, _, value = line.partition(":")
            data = value.removeprefix(" ")
            if name != "data" or self._done:
                continue
            if data == "[DONE]":
                self._done = True
            elif text := self._add(data.encode()):
                self._texts.append(text)
                yield text

    def end(self) -> None:
        """To be called when the connection has ended.

        Raises:
            ServerUnreachable: the answer had not.
        """
        if not self._done and not self._finish:
            raise ServerUnreachable(
                "the connection ended in the middle of the answer; what came of it is incomplete"
            )

    def _add(self, data: bytes) -> str:
        chunk = _read(data)
        if chunk.error is not None:
            raise frame_error(data)
        self._model = chunk.model or self._model
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        text = ""
        for choice in chunk.choices:
            if choice.index:
                continue
            delta = choice.delta or _Message()
            text += delta.content or ""
            for call in delta.tool_calls or ():
                self._calls.add(call.index, call)
            self._finish = choice.finish_reason or self._finish
        return text


class _Calls:
    """Tool calls, put together from their pieces."""

    def __init__(self) -> None:
        self._parts: dict[int, list[str]] = {}

    def add(self, index: int, call: _Call) -> None:
        part = self._parts.setdefault(index, ["", "", ""])
        function = call.function or _Function()
        for place, piece in enumerate((call.id, function.name, function.arguments)):
            part[place] += piece or ""

    @property
    def whole(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(*self._parts[index]) for index in sorted(self._parts))


def _usage(usage: _Usage | None) -> ChatUsage:
    if usage is None:
        return ChatUsage()
    details = usage.prompt_tokens_details or _Details()
    return ChatUsage(usage.prompt_tokens, usage.completion_tokens, details.cached_tokens or 0)
