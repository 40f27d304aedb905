from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maas_stub_server import KEY, Seen, Stub

from maas.client import ApiError, AsyncClient, Client, ServerUnreachable
from maas.client.chat import ChatUsage, ReplyStream, ToolCall, chat_body, read_reply
from maas.core.errors import ErrorKind, MaasError

ROUTE = "POST /v1/chat/completions"
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 2},
}


def frame(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def delta(finish: str | None = None, **about: Any) -> bytes:
    choice = {"index": 0, "delta": about, "finish_reason": finish}
    return frame({"model": "assistant", "choices": [choice]})


WHOLE = [
    delta(role="assistant", content=""),
    delta(content="Hel"),
    delta(content="lo 你好 👩‍🚀"),
    delta("stop"),
    frame({"model": "assistant", "choices": [], "usage": USAGE}),
    b"data: [DONE]\n\n",
]
TEXT = "Hello 你好 👩‍🚀"


def sent(stub: Stub) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(stub.last("POST").body)
    return body


@pytest.fixture
def client(stub: Stub) -> Iterator[Client]:
    with Client(stub.url, KEY) as made:
        yield made


def test_an_answer_at_once(stub: Stub, client: Client) -> None:
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    stub.on(ROUTE, 200, {"model": "assistant", "choices": [choice], "usage": USAGE})
    reply = client.chat("assistant", "Hi", system="Be brief.", temperature=0, max_tokens=None)
    assert str(reply) == reply.text == "Hello"
    assert (reply.finish_reason, reply.model) == ("stop", "assistant")
    assert reply.usage == ChatUsage(7, 3, 2)
    assert sent(stub) == {
        "model": "assistant",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
        "temperature": 0,
    }
    assert stub.last("POST").headers["authorization"] == f"Bearer {KEY}"


def test_a_conversation_and_options_that_it_does_not_know(stub: Stub, client: Client) -> None:
    stub.on(ROUTE, 200, {"choices": [{"message": {"content": "ok"}}]})
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    options: Any = {"mirostat": 2, "stop": ["x"]}
    assert client.chat("a@prod", messages, **options).text == "ok"
    assert sent(stub) == {"model": "a@prod", "messages": messages, "mirostat": 2, "stop": ["x"]}


def test_a_stream_gives_pieces_and_then_the_reply(stub: Stub, client: Client) -> None:
    stub.on(ROUTE, 200, WHOLE)
    stream = client.chat("assistant", "Hi", stream=True)
    assert list(stream) == ["Hel", "lo 你好 👩‍🚀"]
    assert (stream.reply.text, stream.reply.finish_reason) == (TEXT, "stop")
    assert stream.reply.usage == ChatUsage(7, 3, 2)
    assert sent(stub)["stream_options"] == {"include_usage": True}


async def test_asyncio(stub: Stub) -> None:
    stub.on(ROUTE, 200, WHOLE)
    async with AsyncClient(stub.url, KEY) as client:
        stream = await client.chat("assistant", "Hi", stream=True)
        assert "".join([piece async for piece in stream]) == TEXT
        assert stream.reply.finish_reason == "stop"
        async with await client.chat("assistant", "Hi", stream=True) as stream:
            assert await anext(stream) == "Hel"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        stub.on(ROUTE, 200, {"choices": [{"message": {"content": "ok"}}]})
        assert (await client.chat("assistant", "Hi")).text == "ok"
        stub.on(ROUTE, 200, WHOLE[:2])
        with pytest.raises(ServerUnreachable, match="in the middle"):
            async for _ in await client.chat("assistant", "Hi", stream=True):
                pass
        stub.on(ROUTE, 404, {"error": {"message": "no", "type": "x", "code": "model_not_found"}})
        with pytest.raises(ApiError, match="no") as caught:
            await client.chat("assistant", "Hi", stream=True)
        assert caught.value.kind is ErrorKind.NOT_FOUND


@given(cuts=st.lists(st.integers(0, len(b"".join(WHOLE))), max_size=12))
def test_it_does_not_matter_how_a_stream_is_cut(cuts: list[int]) -> None:
    whole = b"".join(WHOLE)
    places = [0, *sorted(cuts), len(whole)]
    stream = ReplyStream()
    texts = [
        text for begin, end in itertools.pairwise(places) for text in stream.feed(whole[begin:end])
    ]
    stream.end()
    assert "".join(texts) == stream.reply.text == TEXT


@given(chunks=st.lists(st.binary(max_size=60) | st.sampled_from(WHOLE), max_size=6))
def test_what_is_no_stream_raises_nothing_but_our_errors(chunks: list[bytes]) -> None:
    stream = ReplyStream()
    with contextlib.suppress(MaasError):
        for chunk in chunks:
            list(stream.feed(chunk))
        stream.end()
    assert isinstance(stream.reply.text, str)


@given(body=st.binary(max_size=80))
def test_what_is_no_answer_is_one_clear_error(body: bytes) -> None:
    with pytest.raises(MaasError, match="answer"):
        read_reply(body)


def test_tool_calls(stub: Stub, client: Client) -> None:
    def piece(index: int, **about: Any) -> bytes:
        return delta(tool_calls=[{"index": index, **about}])

    stub.on(
        ROUTE,
        200,
        [
            piece(0, id="call_1", type="function", function={"name": "add", "arguments": ""}),
            piece(0, function={"arguments": '{"a":'}),
            piece(1, id="call_2", type="function", function={"name": "now", "arguments": "{}"}),
            piece(0, function={"arguments": " 1}"}),
            delta("tool_calls"),
            b"data: [DONE]\n\n",
        ],
    )
    tools = [{"type": "function", "function": {"name": "add"}}]
    stream = client.chat("assistant", "1 + 1?", tools=tools, stream=True)
    assert list(stream) == []
    wanted = (ToolCall("call_1", "add", '{"a": 1}'), ToolCall("call_2", "now", "{}"))
    assert stream.reply.tool_calls == wanted
    calls = [{"id": "call_1", "function": {"name": "add", "arguments": '{"a": 1}'}}]
    message = {"content": None, "tool_calls": [*calls, {"id": "call_2", "function": None}]}
    stub.on(ROUTE, 200, {"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    reply = client.chat("assistant", "1 + 1?", tools=tools)
    assert (reply.text, reply.tool_calls[0]) == ("", wanted[0])


def test_other_choices_are_left_out(stub: Stub, client: Client) -> None:
    other = {"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}
    stub.on(ROUTE, 200, [delta(content="one"), frame({"choices": [other]}), delta("length")])
    stream = client.chat("assistant", "Hi", stream=True)
    assert list(stream) == ["one"]
    assert stream.reply.finish_reason == "length"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("context_length_exceeded", ErrorKind.CONTEXT_EXCEEDED),
        ("invalid_api_key", ErrorKind.UNAUTHENTICATED),
        (None, ErrorKind.INVALID_ARGUMENT),
        (17, ErrorKind.INVALID_ARGUMENT),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal(stub: Stub, client: Client, code: Any, kind: ErrorKind, stream: Any) -> None:
    error = {"message": "no", "type": "invalid_request_error", "param": None, "code": code}
    stub.on(ROUTE, 400, {"error": error})
    with pytest.raises(ApiError, match="no") as caught:
        client.chat("assistant", "Hi", stream=stream)
    assert (caught.value.kind, caught.value.status) == (kind, 400)


def test_an_error_on_the_way(stub: Stub, client: Client) -> None:
    error = {"message": "the engine died", "type": "server_error", "param": None, "code": None}
    stub.on(ROUTE, 200, [*WHOLE[:2], frame({"error": error})])
    stream = client.chat("assistant", "Hi", stream=True)
    assert next(stream) == "Hel"
    with pytest.raises(ApiError, match="the engine died") as caught:
        next(stream)
    assert caught.value.kind is ErrorKind.INTERNAL
    assert stream.reply.text == "Hel"


def test_a_connection_that_ends_in_the_middle(stub: Stub, client: Client) -> None:
    stub.on(ROUTE, 200, WHOLE[:3])
    with pytest.raises(ServerUnreachable, match="in the middle of the answer"):
        list(client.chat("assistant", "Hi", stream=True))


def test_a_connection_that_breaks() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head + b"%x\r\n" % len(WHOLE[1]) + WHOLE[1] + b"\r\n40\r\nda")
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY) as client:
        stream = client.chat("assistant", "Hi", stream=True)
        assert next(stream) == "Hel"
        with pytest.raises(ServerUnreachable, match="broke"):
            next(stream)
    thread.join()
    listener.close()


@pytest.mark.parametrize("pieces", [0, 1])
def test_closing_hangs_up(pieces: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    gone = threading.Event()

    def answer() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head + b"%x\r\n" % len(WHOLE[1]) + WHOLE[1] + b"\r\n")
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1)
        gone.set()
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY) as client:
        stream = client.chat("assistant", "Hi", stream=True)
        assert [next(stream) for _ in range(pieces)] == ["Hel"][:pieces]
        stream.close()
        assert gone.wait(20)
        assert list(stream) == []
    thread.join()
    listener.close()


def test_nobody_is_there() -> None:
    with Client("http://127.0.0.1:9", KEY) as client, pytest.raises(ServerUnreachable):
        client.chat("assistant", "Hi")


@pytest.mark.parametrize("messages", [[1], ["Hi"], [{"role": "user", "content": object()}]])
def test_messages_that_are_none(messages: Any) -> None:
    with pytest.raises(MaasError) as caught:
        chat_body("assistant", messages, False, {})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_the_handler_sees_what_was_asked(stub: Stub, client: Client) -> None:
    def echo(seen: Seen) -> tuple[int, Any]:
        said = json.loads(seen.body)["messages"][-1]["content"]
        return 200, [delta(content=said), delta("stop"), b"data: [DONE]\n\n"]

    stub.handlers[ROUTE] = echo
    assert "".join(client.chat("assistant", "回声 🎈", stream=True)) == "回声 🎈"


def test_importing_the_package_imports_no_http() -> None:
    code = "import maas, sys; print([m for m in sys.modules if m in ('httpx', 'maas.client')])"
    assert subprocess.check_output([sys.executable, "-c", code]).strip() == b"[]"
