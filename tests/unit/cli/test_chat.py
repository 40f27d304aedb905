from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from maas_stub_server import KEY, Seen, Stub
from tests.terminal import CTRL_C, CTRL_D, Terminal, terminal

ROUTE = "POST /v1/chat/completions"
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 2},
}
DONE = b"data: [DONE]\n\n"


def frame(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    return frame({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


def messages(seen: Seen) -> list[tuple[str, str]]:
    return [(each["role"], each["content"]) for each in json.loads(seen.body)["messages"]]


def whole(text: str) -> list[bytes]:
    usage = frame({"choices": [], "usage": USAGE})
    return [*(delta(each) for each in text), delta("", "stop"), usage, DONE]


def echo(seen: Seen) -> tuple[int, Any]:
    """Says what it was asked, and after how many messages."""
    said = messages(seen)
    return 200, whole(f"{said[-1][1]}!{len(said)}")


class Slow(list[bytes]):
    """An answer that begins and then waits, until its reader has gone away."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield delta("Once upon")
        self.released.wait(30)
        yield delta(" a time")


@pytest.fixture
def environment(stub: Stub) -> dict[str, str]:
    stub.handlers[ROUTE] = echo
    return {**os.environ, "MAAS_URL": stub.url, "MAAS_API_KEY": KEY, "TERM": "dumb"}


@pytest.fixture
def talk(environment: dict[str, str]) -> Iterator[Terminal]:
    with terminal([sys.executable, "-m", "maas", "chat", "assistant"], environment) as person:
        person.wait_for(">>> ")
        yield person


def test_one_question(stub: Stub, maas: Any) -> None:
    stub.handlers[ROUTE] = echo
    asked = ("chat", "assistant:2", "你好 👩‍🚀", "-s", "Be brief.", "--seed", "3", "--verbose")
    result = maas(*asked, "--temperature", "0", "--max-tokens", "9")
    assert (result.code, result.out) == (0, "你好 👩‍🚀!2\n")
    assert result.err.startswith("7 tokens read (2 known), 3 written, ")
    body = json.loads(stub.last("POST").body)
    assert messages(stub.last("POST")) == [("system", "Be brief."), ("user", "你好 👩‍🚀")]
    assert (body["model"], body["seed"], body["temperature"]) == ("assistant:2", 3, 0)
    assert body["max_tokens"] == 9


def test_a_question_in_a_pipe(stub: Stub, maas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.handlers[ROUTE] = echo
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"two\nlines\n")))
    result = maas("chat", "assistant")
    assert (result.code, result.out, result.err) == (0, "two\nlines!1\n", "")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" \n")))
    result = maas("chat", "assistant")
    assert (result.code, result.out) == (2, "")
    assert "standard input is empty" in result.err
    result = maas("chat", "assistant", " ")
    assert (result.code, result.out) == (2, "")
    assert "the question is empty" in result.err


def test_json(stub: Stub, maas: Any) -> None:
    message = {"role": "assistant", "content": "花"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    stub.on(ROUTE, 200, {"model": "assistant", "choices": [choice], "usage": USAGE})
    result = maas("chat", "assistant", "hi", "--json")
    found = json.loads(result.out)
    assert (found["text"], found["finish_reason"]) == ("花", "stop")
    assert found["usage"]["cached_tokens"] == 2


def test_an_answer_that_is_cut_off_and_one_with_calls(stub: Stub, maas: Any) -> None:
    stub.on(ROUTE, 200, [delta("abc", "length"), DONE])
    result = maas("chat", "assistant", "hi")
    assert (result.out, "cut off" in result.err) == ("abc\n", True)
    call = {"index": 0, "id": "c", "function": {"name": "add", "arguments": "{}"}}
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    stub.on(ROUTE, 200, [frame({"choices": [choice]}), DONE])
    result = maas("chat", "assistant", "hi")
    assert (result.out, result.err) == ("", "(wants to call add with {})\n")


@pytest.mark.parametrize(
    ("status", "code"), [(400, 1), (401, 4), (403, 4), (404, 1), (429, 1), (503, 1)]
)
def test_a_refusal(stub: Stub, maas: Any, status: int, code: int) -> None:
    error = {"message": "not so", "type": "invalid_request_error", "param": None, "code": None}
    stub.on(ROUTE, status, {"error": error})
    result = maas("chat", "assistant", "hi")
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("error: not so\n")


def test_an_answer_that_breaks_off(stub: Stub, maas: Any) -> None:
    stub.on(ROUTE, 200, [delta("half")])
    result = maas("chat", "assistant", "hi")
    assert (result.code, result.out) == (3, "half\n")
    assert "in the middle of the answer" in result.err


def test_nobody_is_there(maas: Any) -> None:
    result = maas("chat", "assistant", "hi", "--url", "http://127.0.0.1:9")
    assert (result.code, result.out) == (3, "")


def test_a_conversation(stub: Stub, talk: Terminal) -> None:
    talk.type("hello\n")
    assert talk.wait_for("\n>>> ").endswith("hello!1\r\n>>> ")
    talk.type("again\n")
    talk.wait_for("again!3\r\n>>> ")
    said = [("user", "hello"), ("assistant", "hello!1"), ("user", "again")]
    assert messages(stub.last("POST")) == said
    talk.type("/system Be brief.\n")
    talk.wait_for(">>> ")
    talk.type("/clear\n")
    talk.wait_for("forgotten")
    talk.type('"""one\n')
    talk.wait_for("... ")
    talk.type('two"""\n')
    talk.wait_for("one\r\ntwo!2\r\n>>> ")
    assert messages(stub.last("POST")) == [("system", "Be brief."), ("user", "one\ntwo")]
    talk.type("/nothing\n")
    talk.wait_for("there is no command /nothing")
    talk.type("/help\n")
    talk.wait_for("/clear          forget the conversation")
    talk.type("/etc/hosts is a file\n")  # no command
    talk.wait_for("/etc/hosts is a file!4\r\n>>> ")
    talk.type("/exit\n")
    assert talk.end() == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(stub: Stub, talk: Terminal) -> None:
    slow = Slow()
    stub.on(ROUTE, 200, slow)
    talk.type("a story\n")
    talk.wait_for("Once upon")
    talk.type(CTRL_C)
    talk.wait_for("(stopped)\r\n")
    talk.wait_for(">>> ")
    slow.released.set()
    stub.handlers[ROUTE] = echo
    talk.type("and now?\n")
    talk.wait_for("and now?!3\r\n>>> ")
    assert messages(stub.last("POST"))[1] == ("assistant", "Once upon")
    talk.type("half a li")
    talk.wait_for("half a li")
    talk.interrupt()
    talk.wait_for("(Ctrl-C once more, Ctrl-D or /exit ends)\r\n>>> ")
    talk.type("/clear\n")  # between the two, so the next one is the first again
    talk.wait_for(">>> ")
    talk.interrupt()
    talk.wait_for(">>> ")
    talk.interrupt()
    assert talk.end() == 0


def test_ctrl_c_before_the_answer_begins(stub: Stub, talk: Terminal) -> None:
    released, asked = threading.Event(), threading.Event()

    def think(seen: Seen) -> tuple[int, Any]:
        asked.set()
        released.wait(30)
        return echo(seen)

    stub.handlers[ROUTE] = think
    talk.type("a hard one\n")
    assert asked.wait(30)
    talk.type(CTRL_C)
    talk.wait_for("(stopped)\r\n")
    talk.wait_for(">>> ")
    released.set()
    talk.type("an easy one\n")
    talk.wait_for("an easy one!1\r\n>>> ")  # what was not answered is not remembered


def test_ctrl_c_ends_one_question_with_130(stub: Stub, environment: dict[str, str]) -> None:
    slow = Slow()
    stub.on(ROUTE, 200, slow)
    argv = [sys.executable, "-m", "maas", "chat", "assistant", "a story"]
    with terminal(argv, environment) as person:
        person.wait_for("Once upon")
        person.type(CTRL_C)
        assert person.end() == 130
    slow.released.set()


def test_ctrl_d_ends(talk: Terminal) -> None:
    talk.type(CTRL_D)
    assert talk.end() == 0


def test_any_script_can_be_typed_in_the_locale_c(stub: Stub, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "maas", "chat", "assistant"]
    with terminal(command, environment | {"LC_ALL": "C"}) as person:
        person.wait_for(">>> ")
        person.type("谢谢\n")
        person.wait_for("谢谢!1\r\n>>> ")
        person.type(CTRL_D)
        assert person.end() == 0


def test_an_error_leaves_the_conversation_as_it_was(stub: Stub, talk: Terminal) -> None:
    talk.type("one\n")
    talk.wait_for("one!1\r\n>>> ")
    error = {"message": "busy", "type": "server_error", "param": None, "code": None}
    stub.on(ROUTE, 429, {"error": error})
    talk.type("two\n")
    talk.wait_for("error: busy\r\n>>> ")
    stub.handlers[ROUTE] = echo
    talk.type("three\n")
    talk.wait_for("three!3\r\n>>> ")


def test_what_is_oldest_is_left_out_when_it_no_longer_fits(stub: Stub, talk: Terminal) -> None:
    def small(seen: Seen) -> tuple[int, Any]:
        if len(messages(seen)) <= 3:
            return echo(seen)
        about = {"message": "too long", "type": "invalid_request_error", "param": "messages"}
        return 400, {"error": {**about, "code": "context_length_exceeded"}}

    stub.handlers[ROUTE] = small
    for number, text in enumerate(("one", "two", "three")):
        talk.type(f"{text}\n")
        talk.wait_for(f"{text}!{min(3, 2 * number + 1)}\r\n>>> ")
    assert "what was said first is left out" in talk.shown
    assert messages(stub.last("POST"))[0] == ("user", "two")


def test_a_terminal_gets_no_control_sequences(stub: Stub, talk: Terminal) -> None:
    stub.on(ROUTE, 200, whole("\x1b]0;title\x07a\tb\nc\u202e👩‍🚀"))
    talk.type("hi\n")
    shown = talk.wait_for("\r\n>>> ")
    assert "\x1b]" not in shown
    assert "\u202e" not in shown
    assert "👩‍🚀" in shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gb18030"])
def test_a_console_that_cannot_print_everything(
    stub: Stub, environment: dict[str, str], encoding: str
) -> None:
    stub.on(ROUTE, 200, whole("a花👩‍🚀b"))
    env = {**environment, "PYTHONIOENCODING": encoding, "NO_COLOR": "1"}
    with terminal([sys.executable, "-m", "maas", "chat", "assistant"], env) as person:
        person.wait_for(">>> ")
        person.type("花?\n")
        person.wait_for("b\r\n>>> ")
        person.type("/exit\n")
        assert person.end() == 0


def test_json_wants_a_question(environment: dict[str, str]) -> None:
    with terminal([sys.executable, "-m", "maas", "chat", "a", "--json"], environment) as person:
        assert person.end() == 2
        assert "--json prints one answer" in person.shown
