"""`client.chat`: conversations with a language model, blocking and for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, Unpack, overload

from maas.client import transport
from maas.client.call import JSON
from maas.client.chat import (
    PATH,
    WAIT_S,
    ChatOptions,
    ChatReply,
    Messages,
    ReplyStream,
    chat_body,
    read_reply,
)

if TYPE_CHECKING:
    import httpx


class Chat:
    """Asks a language model; a client has one as `client.chat`."""

    def __init__(self, http: httpx.Client, url: str, timeout_s: float) -> None:
        self._http = http
        self._url = url
        self._timeout_s = timeout_s

    @overload
    def __call__(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> ChatReply: ...
    @overload
    def __call__(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[True],
        **options: Unpack[ChatOptions],
    ) -> ChatStream: ...
    def __call__(
        self,
        model: str,
        messages: Messages,
        *,
        stream: bool = False,
        **options: Unpack[ChatOptions],
    ) -> ChatReply | ChatStream:
        """Has a conversation answered.

        Args:
            model: `name`, `name:3`, `name@prod`, or a name that the model is served under.
            messages: what the user says, or the whole conversation so far.
            stream: give the pieces of the answer as they come.
            options: see `ChatOptions`; others are sent as they are.

        Returns:
            The reply; or, streamed, an iterator of its pieces, with the whole in `.reply`.
        """
        import httpx

        request = _request(self._http, self._timeout_s, model, messages, stream, options)
        try:
            response = self._http.send(request, stream=stream)
            if stream and not response.is_success:
                response.read()
        except httpx.HTTPError as error:
            raise transport.explain(error, self._url, _patience(self._timeout_s)) from None
        transport.check(response)
        return ChatStream(response, self._url) if stream else read_reply(response.content)


class ChatStream:
    """The pieces of an answer, as texts. Closing it stops the model.

    Iterating raises `ApiError` where the answer fails on its way, `ServerUnreachable` where the
    connection breaks in the middle.
    """

    def __init__(self, response: httpx.Response, url: str) -> None:
        self._response = response
        self._stream = ReplyStream()
        self._pieces = _pieces(response, self._stream, url)

    @property
    def reply(self) -> ChatReply:
        """What has been said so far; after the last piece, the whole reply."""
        return self._stream.reply

    def close(self) -> None:
        """Hangs up; the model stops writing."""
        self._pieces.close()
        self._response.close()  # also where no piece was ever asked for

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncChat:
    """Asks a language model; a client for asyncio has one as `client.chat`."""

    def __init__(self, http: httpx.AsyncClient, url: str, timeout_s: float) -> None:
        self._http = http
        self._url = url
        self._timeout_s = timeout_s

    @overload
    async def __call__(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> ChatReply: ...
    @overload
    async def __call__(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[True],
        **options: Unpack[ChatOptions],
    ) -> AsyncChatStream: ...
    async def __call__(
        self,
        model: str,
        messages: Messages,
        *,
        stream: bool = False,
        **options: Unpack[ChatOptions],
    ) -> ChatReply | AsyncChatStream:
        """Has a conversation answered, as `Chat` does.

        Returns:
            The reply; or, streamed, what `async for` gives its pieces, with the whole in `.reply`.
        """
        import httpx

        request = _request(self._http, self._timeout_s, model, messages, stream, options)
        try:
            response = await self._http.send(request, stream=stream)
            if stream and not response.is_success:
                await response.aread()
        except httpx.HTTPError as error:
            raise transport.explain(error, self._url, _patience(self._timeout_s)) from None
        transport.check(response)
        return AsyncChatStream(response, self._url) if stream else read_reply(response.content)


class AsyncChatStream:
    """The pieces of an answer, as texts, for asyncio. Closing it stops the model."""

    def __init__(self, response: httpx.Response, url: str) -> None:
        self._response = response
        self._stream = ReplyStream()
        self._pieces = _async_pieces(response, self._stream, url)

    @property
    def reply(self) -> ChatReply:
        """What has been said so far; after the last piece, the whole reply."""
        return self._stream.reply

    async def close(self) -> None:
        """Hangs up; the model stops writing."""
        await self._pieces.aclose()
        await self._response.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _request(
    http: httpx.Client | httpx.AsyncClient,
    timeout_s: float,
    model: str,
    messages: Messages,
    stream: bool,
    options: ChatOptions,
) -> httpx.Request:
    import httpx

    headers = {"Content-Type": JSON}
    if stream:
        headers["Accept"] = "text/event-stream"
    body = chat_body(model, messages, stream, options)
    timeout = httpx.Timeout(timeout_s, read=_patience(timeout_s))
    return http.build_request("POST", PATH, content=body, headers=headers, timeout=timeout)


def _patience(timeout_s: float) -> float:
    return max(timeout_s, WAIT_S)


def _pieces(response: httpx.Response, stream: ReplyStream, url: str) -> Generator[str]:
    import httpx

    try:
        for chunk in response.iter_bytes():
            yield from stream.feed(chunk)
        stream.end()
    except httpx.HTTPError as error:
        raise transport.explain(error, url, WAIT_S) from None
    finally:
        response.close()


async def _async_pieces(
    response: httpx.Response, stream: ReplyStream, url: str
) -> AsyncGenerator[str]:
    import httpx

    try:
        async for chunk in response.aiter_bytes():
            for text in stream.feed(chunk):
                yield text
        stream.end()
    except httpx.HTTPError as error:
        raise transport.explain(error, url, WAIT_S) from None
    finally:
        await response.aclose()
